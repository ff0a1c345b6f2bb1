// SPDX-License-Identifier: Apache-2.0
use crate::{ffi, RefSet, Result};
use fattr_sys as sys;
use std::ffi::CString;
use std::mem::{size_of, zeroed};
use std::path::Path;
use std::ptr::null;
use std::time::Duration;

/// How the weights of a trace sketch are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Sampler {
    /// Independent draws around the trained weights; default.
    Gaussian = sys::FA_SAMPLER_GAUSSIAN,
    /// Langevin dynamics preconditioned by RMSprop (arXiv 2604.18970).
    RmspropSgld = sys::FA_SAMPLER_RMSPROP_SGLD,
    /// Stochastic gradient Langevin dynamics.
    Sgld = sys::FA_SAMPLER_SGLD,
}

/// How draws are kept; P is the number of weights that move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Storage {
    /// Gaussian draws are made again from the seed, chains stored as bf16; default.
    Default = sys::FA_DRAWS_DEFAULT,
    /// 4 P bytes a draw.
    F32 = sys::FA_DRAWS_F32,
    /// 2 P bytes a draw.
    Bf16 = sys::FA_DRAWS_BF16,
    /// P bytes a draw and 4 for each row of a weight.
    Int8 = sys::FA_DRAWS_INT8,
}

/// What BatchNormalization does while a chain runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum BatchNorm {
    /// Running mean and variance stay as trained; default.
    Frozen = sys::FA_BATCHNORM_FROZEN,
    /// They follow the minibatches, as in training.
    Reestimate = sys::FA_BATCHNORM_REESTIMATE,
}

/// Options of a trace sketch, for [`crate::SketchOptions::trace`].
#[derive(Clone, Debug)]
pub struct TraceOptions {
    raw: sys::fa_trace_options,
    parameters: Option<CString>,
    checkpoint: Option<CString>,
    sampling: Option<RefSet>,
}

// SAFETY: plain numbers; the pointers in `raw` are null until a call.
unsafe impl Send for TraceOptions {}
unsafe impl Sync for TraceOptions {}

impl TraceOptions {
    /// The defaults.
    pub fn new() -> Self {
        // SAFETY: all zero is a valid options struct, filled in by init.
        let mut raw: sys::fa_trace_options = unsafe { zeroed() };
        unsafe { sys::fa_trace_options_init(&mut raw, size_of::<sys::fa_trace_options>()) };
        TraceOptions { raw, parameters: None, checkpoint: None, sampling: None }
    }
    ffi::setters! {
        /// Independent chains; default 1.
        chains: i32;
        /// Kept draws of each chain; default 100.
        draws: i64;
        /// Steps of a chain before the first kept draw; default 250.
        burn_in: i64;
        /// Steps between kept draws; default 1.
        thinning: i64;
        /// Inputs per step; default 256.
        minibatch: i64;
        /// Default 1e-6.
        step_size: f64;
        /// Strength of the pull to the trained weights; default 1e4.
        gamma: f64;
        /// Weight of the mean loss; default 100.
        nbeta: f64;
        /// Scale of the injected noise; default 1.
        noise: f64;
        /// Of the second moment in RMSprop, below 1; default 0.99.
        decay: f64;
        /// Beside its root, > 0; default 0.1.
        epsilon: f64;
        /// Id of the first chain; default 0. Sketches to be merged need other seeds or other ids.
        first_chain: u64;
    }
    /// Default [`Sampler::Gaussian`].
    pub fn sampler(mut self, sampler: Sampler) -> Self {
        self.raw.sampler = sampler as i32;
        self
    }
    /// Default [`Storage::Default`].
    pub fn storage(mut self, storage: Storage) -> Self {
        self.raw.storage = storage as i32;
        self
    }
    /// Default [`BatchNorm::Frozen`].
    pub fn batchnorm(mut self, batchnorm: BatchNorm) -> Self {
        self.raw.batchnorm = batchnorm as i32;
        self
    }
    /// Regresses the references' mean trace out of every trace; the concordance scores are then absent.
    pub fn partial(mut self, yes: bool) -> Self {
        self.raw.partial = yes.into();
        self
    }
    /// Which weights move: patterns as of [`crate::SketchOptions::layers`] over their names. An error for text with a zero byte.
    pub fn parameters(mut self, patterns: &str) -> Result<Self> {
        self.parameters = Some(ffi::c_text(patterns)?);
        Ok(self)
    }
    /// Where minibatches come from; default: the references.
    pub fn sampling(mut self, set: &RefSet) -> Self {
        self.sampling = Some(set.clone());
        self
    }
    /// A file that the build writes, at most so often, so that one that was killed can be resumed with the same result. An error for a path with a zero byte.
    pub fn checkpoint(mut self, path: impl AsRef<Path>, every: Duration) -> Result<Self> {
        self.checkpoint = Some(ffi::c_path(path.as_ref())?);
        self.raw.checkpoint_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX).max(1);
        Ok(self)
    }
    /// Goes on from the checkpoint where the file exists.
    pub fn resume(mut self, yes: bool) -> Self {
        self.raw.resume = yes.into();
        self
    }
    /// For a call during which self stays.
    pub(crate) fn raw(&self) -> sys::fa_trace_options {
        let mut raw = self.raw;
        raw.parameters = self.parameters.as_ref().map_or(null(), |t| t.as_ptr());
        raw.checkpoint = self.checkpoint.as_ref().map_or(null(), |t| t.as_ptr());
        raw.sampling = self.sampling.as_ref().map_or(null(), |s| s.as_ptr() as *const _);
        raw
    }
}

impl Default for TraceOptions {
    fn default() -> Self {
        Self::new()
    }
}
