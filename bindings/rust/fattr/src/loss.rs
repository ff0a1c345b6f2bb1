// SPDX-License-Identifier: Apache-2.0
use fattr_sys as sys;
use std::ffi::{c_void, CString};
use std::fmt;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::slice;
use std::sync::Arc;

/// What a network's output is, and the loss whose gradient there a signature starts from; fattr/loss.h says which shapes each takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[non_exhaustive]
pub enum Loss {
    /// Mean of the other logits minus that of the predicted class; default.
    Margin = sys::FA_LOSS_MARGIN,
    /// Cross-entropy with the predicted class.
    CrossEntropy = sys::FA_LOSS_CROSS_ENTROPY,
    /// Mean cross-entropy of the tokens, each predicted at the position before it.
    NextToken = sys::FA_LOSS_NEXT_TOKEN,
    /// Mean over positions of the margin of the class predicted there, `[n, positions, classes]`.
    PerToken = sys::FA_LOSS_PER_TOKEN,
    /// The same for `[n, classes, height, width]`.
    PerPixel = sys::FA_LOSS_PER_PIXEL,
    /// Independent yes-or-no answers, `[n, labels]`.
    MultiLabel = sys::FA_LOSS_MULTI_LABEL,
    /// Numbers, along one fixed direction; in a trace sketch with Gaussian losses.
    Regression = sys::FA_LOSS_REGRESSION,
    /// A vector, along one fixed direction; in a trace sketch with losses of the cosine.
    Embedding = sys::FA_LOSS_EMBEDDING,
    /// The gradient is the caller's: [`crate::SketchOptions::output_gradient`] sets it.
    Host = sys::FA_LOSS_HOST,
}

/// Outputs of some inputs, for a gradient of the caller's own.
#[derive(Clone, Copy, Debug)]
pub struct OutputBatch<'a> {
    /// Inputs.
    pub n: usize,
    /// Numbers in one input's output.
    pub length: usize,
    /// `[n, length]` in the model's layout.
    pub outputs: &'a [f32],
    /// Output i belongs to row `first + i` of the reference set, or of the inputs being scored.
    pub first: usize,
}

type Function = dyn Fn(&OutputBatch<'_>, &mut [f32]) -> Result<(), String> + Send + Sync;

/// A closure behind fa_output_gradient.
#[derive(Clone)]
pub(crate) struct Gradient(Arc<Box<Function>>);

impl fmt::Debug for Gradient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gradient")
    }
}

impl Gradient {
    pub(crate) fn new(f: impl Fn(&OutputBatch<'_>, &mut [f32]) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Gradient(Arc::new(Box::new(f)))
    }
    /// What C gets; it holds as long as a clone of self does.
    pub(crate) fn raw(&self) -> (sys::fa_output_gradient, *mut c_void) {
        (Some(call), Arc::as_ptr(&self.0) as *mut c_void)
    }
}

unsafe extern "C" fn call(user: *mut c_void, batch: *const sys::fa_output_batch, to: *mut f32) -> sys::fa_status {
    let (f, b) = (&*user.cast::<Box<Function>>(), &*batch);
    let (n, length) = (b.n as usize, b.length as usize);
    let batch = OutputBatch { n, length, outputs: slice::from_raw_parts(b.outputs, n * length), first: b.first as usize };
    let gradient = slice::from_raw_parts_mut(to, n * length);
    let (status, text) = match catch_unwind(AssertUnwindSafe(|| f(&batch, gradient))) {
        Ok(Ok(())) => return sys::FA_OK,
        Ok(Err(text)) => (sys::FA_ERR_ARGUMENT, text),
        Err(_) => (sys::FA_ERR_CANCELLED, "it panicked".to_string()), // may not unwind through C
    };
    let text = CString::new(text.replace('\0', " ")).unwrap_or_default();
    sys::fa_error_set(status, text.as_ptr())
}
