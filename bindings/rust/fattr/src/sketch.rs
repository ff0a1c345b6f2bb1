// SPDX-License-Identifier: Apache-2.0
use crate::error::check;
use crate::ffi::{self, shared, Wraps};
use crate::loss::{Gradient, Loss, OutputBatch};
use crate::{Context, Model, Precision, RefSet, Result, Score, TraceOptions};
use fattr_sys as sys;
use std::any::Any;
use std::ffi::{c_void, CString};
use std::mem::{size_of, zeroed};
use std::ops::ControlFlow;
use std::os::raw::c_char;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::path::Path;
use std::ptr::{null, null_mut, NonNull};
use std::time::Duration;

/// How a layer's block enters the signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Blocks {
    /// Plain and layer-unit side by side; default.
    Both = sys::FA_BLOCKS_BOTH,
    /// Blocks concatenated as they are.
    Plain = sys::FA_BLOCKS_PLAIN,
    /// Each block at unit length first.
    LayerUnit = sys::FA_BLOCKS_LAYER_UNIT,
}

/// Options of a sketch.
#[derive(Clone, Debug)]
pub struct SketchOptions {
    raw: sys::fa_sketch_options,
    layers: Option<CString>,
    trace: Option<TraceOptions>,
    gradient: Option<Gradient>,
}

// SAFETY: plain numbers; the pointers in it are null until a call.
unsafe impl Send for SketchOptions {}
unsafe impl Sync for SketchOptions {}

impl SketchOptions {
    /// The defaults.
    pub fn new() -> Self {
        // SAFETY: all zero is a valid options struct, filled in by init.
        let mut raw: sys::fa_sketch_options = unsafe { zeroed() };
        unsafe { sys::fa_sketch_options_init(&mut raw, size_of::<sys::fa_sketch_options>()) };
        SketchOptions { raw, layers: None, trace: None, gradient: None }
    }
    ffi::setters! {
        /// Eigenvectors kept on the input side of a layer, 1 to 256; default 16.
        k_in: i32;
        /// On the output side, 1 to 256; default 16.
        k_out: i32;
        /// Exponent of the preconditioner, 0 to 1; default 0.25.
        beta: f64;
        /// Added to every eigenvalue, in units of the mean eigenvalue; default 0.1.
        damping: f64;
        /// Of the scores cone and span, > 0; default 1.
        ridge: f64;
        /// k of the score topk; default 5.
        topk: i32;
        /// Of random projections; default 0.
        seed: u64;
        /// Inputs per pass while building, 1 to 4096; default 16.
        batch: i32;
    }
    /// Default [`Blocks::Both`].
    pub fn blocks(mut self, blocks: Blocks) -> Self {
        self.raw.blocks = blocks as i32;
        self
    }
    /// Default [`Loss::Margin`].
    pub fn loss(mut self, loss: Loss) -> Self {
        self.raw.loss = loss as i32;
        self
    }
    /// The gradient `[n, length]` at the outputs of a loss of one's own, which is written to the second argument; each input's is taken to unit length. Called from several
    /// threads while building. Sets [`Loss::Host`], and is needed again to calibrate such a sketch anew, to merge it and to score ([`crate::ScorerOptions::output_gradient`]).
    pub fn output_gradient(mut self, f: impl Fn(&OutputBatch<'_>, &mut [f32]) -> std::result::Result<(), String> + Send + Sync + 'static) -> Self {
        self.raw.loss = Loss::Host as i32;
        self.gradient = Some(Gradient::new(f));
        self
    }
    /// Leaves out references whose prediction is not their label.
    pub fn drop_misclassified(mut self, yes: bool) -> Self {
        self.raw.drop_misclassified = yes.into();
        self
    }
    /// The second moments stay in the sketch, for [`Sketch::merge_shards`]; gradient sketches only.
    pub fn keep_moments(mut self, yes: bool) -> Self {
        self.raw.keep_moments = yes.into();
        self
    }
    /// Of the layers selected the last ones alone, as many as keep a score within so many forward passes (> 1); gradient sketches only.
    pub fn max_forwards(mut self, forwards: f64) -> Self {
        self.raw.max_forwards = forwards;
        self
    }
    /// Only references of the class that the model predicts for an input may explain it; gradient sketches over class logits only.
    pub fn subset_of_class(mut self, yes: bool) -> Self {
        self.raw.subset = if yes { sys::FA_SUBSET_CLASS } else { sys::FA_SUBSET_ALL };
        self
    }
    /// Which layers are tapped: comma-separated shell patterns over layer names, '!' takes out. An error for text with a zero byte.
    pub fn layers(mut self, patterns: &str) -> Result<Self> {
        self.layers = Some(ffi::c_text(patterns)?);
        Ok(self)
    }
    /// [`crate::Status::Cancelled`] after this long; at least a millisecond.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.raw.timeout_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1);
        self
    }
    /// Makes a trace sketch.
    pub fn trace(mut self, trace: TraceOptions) -> Self {
        self.trace = Some(trace);
        self
    }
    /// For a call during which self stays, and what it points to, to be held as long.
    fn raw(&self) -> (sys::fa_sketch_options, Option<Box<sys::fa_trace_options>>) {
        let mut raw = self.raw;
        let trace = self.trace.as_ref().map(|t| Box::new(t.raw()));
        raw.trace = trace.as_deref().map_or(null(), |t| t as *const _);
        (raw.output_gradient, raw.output_gradient_user) = self.gradient.as_ref().map_or((None, null_mut()), Gradient::raw);
        raw.layers = self.layers.as_ref().map_or(null(), |l| l.as_ptr());
        (raw, trace)
    }
}

impl Default for SketchOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// A closure behind fa_progress. A panic waits here until C has returned: it may not unwind through it.
struct Progress<F> {
    tell: F,
    panic: Option<Box<dyn Any + Send>>,
}

unsafe extern "C" fn progress<F: FnMut(&str, i64, i64) -> ControlFlow<()>>(user: *mut c_void, stage: *const c_char, done: i64, total: i64) -> i32 {
    let p = &mut *user.cast::<Progress<F>>();
    if p.panic.is_some() {
        return 1;
    }
    match catch_unwind(AssertUnwindSafe(|| (p.tell)(&ffi::text(stage), done, total))) {
        Ok(flow) => flow.is_break().into(),
        Err(panic) => {
            p.panic = Some(panic);
            1
        }
    }
}

/// What the references do in the network, compressed: projections, signatures, Gram matrix, calibration.
#[derive(Debug)]
pub struct Sketch(pub(crate) NonNull<sys::fa_sketch>);

impl Wraps for Sketch {
    type Raw = sys::fa_sketch;
}
shared!(Sketch, sys::fa_sketch_retain, sys::fa_sketch_release);

/// A sketch in numbers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SketchInfo {
    /// References.
    pub reference_count: usize,
    /// Calibration inputs; 0: no p-values.
    pub calibration_count: usize,
    /// Classes or labels of the output; 0 where it has none.
    pub class_count: usize,
    /// Numbers in a signature.
    pub signature_length: usize,
    /// Tapped layers with signal.
    pub layer_count: usize,
    /// Tapped layers without signal on the references.
    pub dropped_layer_count: usize,
    /// Digest of the model it was made for.
    pub model_digest: [u8; 16],
    /// Version of the library that built it.
    pub library_version: String,
    /// Of the sketch file.
    pub format_version: i32,
    /// A trace sketch.
    pub is_trace: bool,
    /// Of the model that it was built with; a model of any may score with it.
    pub precision: Precision,
}

/// A layer of a sketch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SketchLayer {
    /// The node's name.
    pub name: String,
    /// Components kept of the inputs and of the outputs.
    pub k: (i32, i32),
    /// Without signal on the references.
    pub dropped: bool,
}

/// A reference as the sketch knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Its id.
    pub id: i64,
    /// The model's class; -1 where the loss has none.
    pub predicted: i64,
    /// The true class, where it is known.
    pub label: Option<i64>,
    /// Its signature is zero: it couples with nothing.
    pub no_signal: bool,
}

impl Sketch {
    /// Builds a sketch on the context's threads; the same bits for any number of them. Without calibration there are no p-values and no verdicts.
    pub fn build(model: &Model, references: &RefSet, calibration: Option<&RefSet>, options: &SketchOptions) -> Result<Self> {
        let (o, _trace) = options.raw();
        // SAFETY: all pointers are valid during the call.
        ffi::make(|out| unsafe { sys::fa_sketch_build(model.as_ptr(), references.as_ptr(), or_null(calibration), &o, out) }).map(Sketch)
    }
    /// The same, told about on this thread, a few times per second: `progress(stage, done, total)`. `Break` cancels, and so does a panic, which goes on
    /// from here.
    pub fn build_with_progress<F>(model: &Model, references: &RefSet, calibration: Option<&RefSet>, options: &SketchOptions, tell: F) -> Result<Self>
    where
        F: FnMut(&str, i64, i64) -> ControlFlow<()>,
    {
        let mut p = Progress { tell, panic: None };
        let mut options = options.clone();
        options.raw.progress = Some(progress::<F>);
        options.raw.progress_user = (&mut p as *mut Progress<F>).cast();
        let made = Self::build(model, references, calibration, &options);
        if let Some(panic) = p.panic {
            resume_unwind(panic);
        }
        made
    }
    /// A sketch with the same signatures and another calibration set.
    pub fn recalibrate(&self, model: &Model, calibration: Option<&RefSet>, options: &SketchOptions) -> Result<Self> {
        let (o, _trace) = options.raw();
        // SAFETY: all pointers are valid during the call.
        ffi::make(|out| unsafe { sys::fa_sketch_recalibrate(self.as_ptr(), model.as_ptr(), or_null(calibration), &o, out) }).map(Sketch)
    }
    /// Joins trace sketches with different chains over the same model, references and options; their order does not matter.
    pub fn merge(sketches: &[&Sketch]) -> Result<Self> {
        let pointers: Vec<*const sys::fa_sketch> = sketches.iter().map(|s| s.as_ptr() as *const _).collect();
        // SAFETY: all pointers are valid during the call.
        ffi::make(|out| unsafe { sys::fa_sketch_merge(pointers.as_ptr(), i32::try_from(pointers.len()).unwrap_or(-1), out) }).map(Sketch)
    }
    /// The sketch of all references, from sketches built with [`SketchOptions::keep_moments`] over parts of them, each beside its part; ids must be distinct.
    /// The order of shards makes no difference. Of the options batch, keep_moments and timeout are used.
    pub fn merge_shards(model: &Model, shards: &[(&Sketch, &RefSet)], calibration: Option<&RefSet>, options: &SketchOptions) -> Result<Self> {
        let (sketches, references): (Vec<_>, Vec<_>) = shards.iter().map(|(s, r)| (s.as_ptr() as *const sys::fa_sketch, r.as_ptr() as *const sys::fa_refset)).unzip();
        let (count, (o, _trace)) = (i32::try_from(shards.len()).unwrap_or(-1), options.raw());
        // SAFETY: all pointers are valid during the call.
        ffi::make(|out| unsafe { sys::fa_sketch_merge_shards(model.as_ptr(), sketches.as_ptr(), references.as_ptr(), count, or_null(calibration), &o, out) }).map(Sketch)
    }
    /// Reads a sketch file.
    pub fn load(context: &Context, path: impl AsRef<Path>) -> Result<Self> {
        let path = ffi::c_path(path.as_ref())?;
        // SAFETY: all pointers are valid during the call.
        ffi::make(|out| unsafe { sys::fa_sketch_load_file(context.as_ptr(), path.as_ptr(), out) }).map(Sketch)
    }
    /// The same from the file's bytes, which are not kept.
    pub fn from_bytes(context: &Context, bytes: &[u8]) -> Result<Self> {
        // SAFETY: all pointers are valid during the call.
        ffi::make(|out| unsafe { sys::fa_sketch_load_memory(context.as_ptr(), bytes.as_ptr().cast(), bytes.len(), out) }).map(Sketch)
    }
    /// Writes the sketch file, atomically.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = ffi::c_path(path.as_ref())?;
        // SAFETY: both pointers are valid during the call.
        check(unsafe { sys::fa_sketch_save_file(self.as_ptr(), path.as_ptr()) })
    }
    /// An error that says what differs, unless the sketch was made for this model.
    pub fn check_model(&self, model: &Model) -> Result<()> {
        // SAFETY: both are alive.
        check(unsafe { sys::fa_sketch_check_model(self.as_ptr(), model.as_ptr()) })
    }
    /// The sketch in numbers.
    pub fn info(&self) -> Result<SketchInfo> {
        // SAFETY: plain data; the text belongs to the sketch and is copied.
        let mut i: sys::fa_sketch_info = unsafe { zeroed() };
        i.struct_size = size_of::<sys::fa_sketch_info>();
        check(unsafe { sys::fa_sketch_get_info(self.as_ptr(), &mut i) })?;
        Ok(SketchInfo {
            reference_count: i.reference_count as usize,
            calibration_count: i.calibration_count as usize,
            class_count: i.class_count as usize,
            signature_length: i.signature_length as usize,
            layer_count: i.layer_count as usize,
            dropped_layer_count: i.dropped_layer_count as usize,
            model_digest: i.model_digest,
            library_version: unsafe { ffi::text(i.library_version) },
            format_version: i.format_version,
            is_trace: i.is_trace != 0,
            precision: Precision::from_raw(i.precision),
        })
    }
    /// A layer of `layer_count + dropped_layer_count`, those with signal first.
    pub fn layer(&self, index: usize) -> Result<SketchLayer> {
        // SAFETY: as above.
        let mut l: sys::fa_sketch_layer_info = unsafe { zeroed() };
        check(unsafe { sys::fa_sketch_get_layer(self.as_ptr(), ffi::index(index)?, &mut l) })?;
        Ok(SketchLayer { name: unsafe { ffi::text(l.name) }, k: (l.k_in, l.k_out), dropped: l.dropped != 0 })
    }
    /// A reference.
    pub fn reference(&self, index: usize) -> Result<Reference> {
        // SAFETY: as above.
        let mut r: sys::fa_reference_info = unsafe { zeroed() };
        check(unsafe { sys::fa_sketch_get_reference(self.as_ptr(), i64::try_from(index).unwrap_or(-1), &mut r) })?;
        Ok(Reference { id: r.id, predicted: r.predicted, label: (r.label >= 0).then_some(r.label), no_signal: r.no_signal != 0 })
    }
    /// Scores of each reference against the others; a poisoned reference set shows itself here.
    pub fn audit(&self, score: Score) -> Result<Vec<f64>> {
        let mut out = vec![0.0; self.info()?.reference_count];
        // SAFETY: room for as many numbers.
        check(unsafe { sys::fa_sketch_audit(self.as_ptr(), score as i32, out.as_mut_ptr()) })?;
        Ok(out)
    }
    /// The calibration inputs' scores, ascending. [`crate::Status::State`] without calibration.
    pub fn calibration(&self, score: Score) -> Result<Vec<f64>> {
        let mut out = vec![0.0; self.info()?.calibration_count];
        // SAFETY: room for as many numbers.
        check(unsafe { sys::fa_sketch_get_calibration(self.as_ptr(), score as i32, out.as_mut_ptr()) })?;
        Ok(out)
    }
}

fn or_null(set: Option<&RefSet>) -> *const sys::fa_refset {
    set.map_or(null(), |s| s.as_ptr())
}
