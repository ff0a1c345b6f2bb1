// SPDX-License-Identifier: Apache-2.0
use crate::array::{self, ArrayView};
use crate::error::check;
use crate::loss::{Gradient, OutputBatch};
use crate::{ffi, Error, Model, Result, Sketch, Status};
use fattr_sys as sys;
use std::mem::{size_of, zeroed};
use std::ptr::{null_mut, NonNull};

/// How the references' signatures are read for couplings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Signatures {
    /// A copy in 16-bit integers, with a scale for each layer; default.
    Int16 = sys::FA_SIGNATURES_INT16,
    /// As the sketch has them.
    F32 = sys::FA_SIGNATURES_F32,
    /// A copy in 8-bit integers, with a scale for each layer.
    Int8 = sys::FA_SIGNATURES_INT8,
}

/// The scores. All: higher = more anomalous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Score {
    /// What non-negative combinations of the references leave unexplained; in \[0, 1\]; default.
    Cone = sys::FA_SCORE_CONE,
    /// What any combination leaves; in \[0, 1\].
    Span = sys::FA_SCORE_SPAN,
    /// Minus the mean of the k largest couplings.
    TopK = sys::FA_SCORE_TOPK,
    /// Minus the largest class mean of the couplings (arXiv 2604.18970).
    Class = sys::FA_SCORE_CLASS,
    /// Minus the mean coupling (arXiv 2604.18970).
    Mean = sys::FA_SCORE_MEAN,
    /// The same on Lin's concordance of loss traces; trace sketches only.
    MeanCcc = sys::FA_SCORE_MEAN_CCC,
    /// `Class` on Lin's concordance; trace sketches only.
    ClassCcc = sys::FA_SCORE_CLASS_CCC,
}

/// Options of a scorer.
#[derive(Clone, Debug)]
pub struct ScorerOptions {
    raw: sys::fa_scorer_options,
    gradient: Option<Gradient>,
}

// SAFETY: plain numbers; the pointers in it are null until a call.
unsafe impl Send for ScorerOptions {}
unsafe impl Sync for ScorerOptions {}

impl ScorerOptions {
    /// The defaults.
    pub fn new() -> Self {
        // SAFETY: all zero is a valid options struct, filled in by init.
        let mut o: sys::fa_scorer_options = unsafe { zeroed() };
        unsafe { sys::fa_scorer_options_init(&mut o, size_of::<sys::fa_scorer_options>()) };
        ScorerOptions { raw: o, gradient: None }
    }
    /// Inputs that share one pass, 1 to 4096; default 1; memory grows with it.
    pub fn max_batch(mut self, n: i32) -> Self {
        self.raw.max_batch = n;
        self
    }
    /// What p-value and verdict refer to; default [`Score::Cone`].
    pub fn score(mut self, score: Score) -> Self {
        self.raw.score = score as i32;
        self
    }
    /// Computes every score.
    pub fn all_scores(mut self, yes: bool) -> Self {
        self.raw.all_scores = yes.into();
        self
    }
    /// False positive rate to hold, in (0, 1); default 0.05.
    pub fn alpha(mut self, alpha: f64) -> Self {
        self.raw.alpha = alpha;
        self
    }
    /// Trace sketches: stops before the last draw once the verdict is settled with this probability, in (0, 1).
    pub fn confidence(mut self, confidence: f64) -> Self {
        self.raw.confidence = confidence;
        self
    }
    /// Trace sketches: bytes in which to keep draws ready to run.
    pub fn draw_cache_bytes(mut self, bytes: u64) -> Self {
        self.raw.draw_cache_bytes = bytes;
        self
    }
    /// For a sketch built with [`crate::SketchOptions::output_gradient`]: the same again.
    pub fn output_gradient(mut self, f: impl Fn(&OutputBatch<'_>, &mut [f32]) -> std::result::Result<(), String> + Send + Sync + 'static) -> Self {
        self.gradient = Some(Gradient::new(f));
        self
    }
    /// Sizes of inputs that the scorer stays ready for, 1 to 1024; default 4. Another one is planned by the call that brings it.
    pub fn plan_cache(mut self, sizes: i64) -> Self {
        self.raw.plan_cache = sizes;
        self
    }
    /// Threads that share the inputs of a batch, or the layers of a single one; gradient sketches only; default 1.
    pub fn threads(mut self, threads: i32) -> Self {
        self.raw.threads = threads;
        self
    }
    /// How references are held for couplings (gradient sketches); default [`Signatures::F32`].
    pub fn signatures(mut self, signatures: Signatures) -> Self {
        self.raw.signatures = signatures as i32;
        self
    }
    /// Computes the residual (with cone and span).
    pub fn residual(mut self, yes: bool) -> Self {
        self.raw.want_residual = yes.into();
        self
    }
}

impl Default for ScorerOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// Scores inputs: one thread's arena over a shared sketch and model, both of which it holds.
///
/// What it returns borrows it until the next call:
///
/// ```compile_fail,E0499
/// fn two(scorer: &mut fattr::Scorer, x: &[fattr::ArrayView]) -> fattr::Result<()> {
///     let first = scorer.score(x)?;
///     let second = scorer.score(x)?;
///     println!("{} {}", first.score(), second.score());
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Scorer {
    raw: NonNull<sys::fa_scorer>,
    results: Vec<sys::fa_result>,
    pub(crate) references: usize,
    pub(crate) with_weights: bool,
    _gradient: Option<Gradient>,
}

// SAFETY: C asks for one thread at a time, not for a certain one. Sync: what takes &self only reads, and scoring takes &mut self.
unsafe impl Send for Scorer {}
unsafe impl Sync for Scorer {}

impl Drop for Scorer {
    fn drop(&mut self) {
        // SAFETY: destroyed once.
        unsafe { sys::fa_scorer_destroy(self.raw.as_ptr()) }
    }
}

impl Scorer {
    /// A scorer; all that scoring needs is allocated here.
    pub fn new(sketch: &Sketch, model: &Model, options: &ScorerOptions) -> Result<Self> {
        let (mut o, gradient) = (options.raw, options.gradient.clone());
        (o.output_gradient, o.output_gradient_user) = gradient.as_ref().map_or((None, null_mut()), Gradient::raw);
        // SAFETY: all pointers are valid during the call, and the closure as long as the scorer.
        let raw = ffi::make(|out| unsafe { sys::fa_scorer_create(sketch.as_ptr(), model.as_ptr(), &o, out) })?;
        // SAFETY: plain data.
        let results = vec![unsafe { zeroed() }; o.max_batch.max(1) as usize];
        let with_weights = o.score == Score::Cone as i32 || o.score == Score::Span as i32;
        Ok(Scorer { raw, results, references: sketch.info()?.reference_count, with_weights, _gradient: gradient })
    }
    pub(crate) fn as_ptr(&mut self) -> *mut sys::fa_scorer {
        self.raw.as_ptr()
    }
    /// Scores one input, `[1, ...]` per model input. Allocates nothing, unless the size is new to the scorer.
    pub fn score(&mut self, inputs: &[ArrayView<'_>]) -> Result<Scored<'_>> {
        let (data, count) = array::raw(inputs);
        // SAFETY: the scorer is borrowed for writing; the inputs are valid during the call.
        check(unsafe { sys::fa_score(self.raw.as_ptr(), data, count, &mut self.results[0]) })?;
        Ok(Scored { raw: &self.results[0] })
    }
    /// Scores `n` inputs `[n, ...]`, at most max_batch. Allocates nothing, unless the size is new to the scorer.
    pub fn score_batch(&mut self, inputs: &[ArrayView<'_>]) -> Result<Batch<'_>> {
        let n = array::rows(inputs)?;
        if n > self.results.len() {
            return Err(Error::new(Status::Limit, format!("{n} inputs; this scorer's max_batch is {}", self.results.len())));
        }
        let (data, count) = array::raw(inputs);
        // SAFETY: as above; there is room for n results.
        check(unsafe { sys::fa_score_batch(self.raw.as_ptr(), data, count, self.results.as_mut_ptr(), n as i64) })?;
        Ok(Batch { raw: &self.results[..n] })
    }
    /// Where the time of the last call went.
    pub fn timing(&self) -> Result<Timing> {
        // SAFETY: plain data; scoring would need &mut self.
        let mut t: sys::fa_score_timing = unsafe { zeroed() };
        t.struct_size = size_of::<sys::fa_score_timing>();
        check(unsafe { sys::fa_scorer_get_timing(self.raw.as_ptr(), &mut t) })?;
        Ok(Timing { forward_ns: t.forward_ns, backward_ns: t.backward_ns, coupling_ns: t.coupling_ns, solve_ns: t.solve_ns, draw_ns: t.draw_ns })
    }
}

/// Nanoseconds of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Forward pass.
    pub forward_ns: u64,
    /// Backward pass and projections.
    pub backward_ns: u64,
    /// Couplings.
    pub coupling_ns: u64,
    /// Cone or span, p-value.
    pub solve_ns: u64,
    /// Trace sketches: making draws and setting weights.
    pub draw_ns: u64,
}

/// One input's result, until the scorer's next call.
#[derive(Clone, Copy, Debug)]
pub struct Scored<'s> {
    raw: &'s sys::fa_result,
}

// SAFETY: a shared borrow of arrays that nobody writes while the scorer is borrowed.
unsafe impl Send for Scored<'_> {}
unsafe impl Sync for Scored<'_> {}

impl<'s> Scored<'s> {
    /// The chosen score; higher = more anomalous.
    pub fn score(&self) -> f64 {
        self.raw.score
    }
    /// Conformal p-value in (0, 1]; NaN without calibration.
    pub fn p_value(&self) -> f64 {
        self.raw.p_value
    }
    /// Whether the p-value is at most alpha; None without calibration.
    pub fn flagged(&self) -> Option<bool> {
        usize::try_from(self.raw.flagged).ok().map(|f| f == 1)
    }
    /// The signature is zero.
    pub fn no_signal(&self) -> bool {
        self.raw.no_signal != 0
    }
    /// The model's class.
    pub fn predicted(&self) -> i64 {
        self.raw.predicted
    }
    /// Its softmax probability.
    pub fn confidence(&self) -> f64 {
        self.raw.confidence
    }
    /// One of the scores; None where it was not computed.
    pub fn score_of(&self, score: Score) -> Option<f64> {
        Some(self.raw.scores[score as usize]).filter(|s| !s.is_nan())
    }
    /// Trace sketches: draws that were used; 0 for gradient sketches.
    pub fn draws(&self) -> i64 {
        self.raw.draws
    }
    /// Cosine with every reference, in \[-1, 1\].
    pub fn couplings(&self) -> &'s [f32] {
        slice(self.raw.couplings, self.raw.reference_count)
    }
    /// What explains the input, per reference; >= 0 for cone. Empty for scores without weights.
    pub fn weights(&self) -> &'s [f32] {
        slice(self.raw.weights, self.raw.reference_count)
    }
    /// The unexplained part of the unit signature; empty unless asked for.
    pub fn residual(&self) -> &'s [f32] {
        slice(self.raw.residual, self.raw.signature_length)
    }
    /// The references by what they explain, strongest first: by weight, for scores without weights by coupling.
    pub fn explanations(&self) -> Explanations<'s> {
        let (couplings, weights) = (self.couplings(), self.weights());
        let strength = if weights.is_empty() { couplings } else { weights };
        let mut order: Vec<u32> = (0..strength.len() as u32).collect();
        order.sort_by(|&a, &b| strength[b as usize].total_cmp(&strength[a as usize]));
        Explanations { order: order.into_iter(), couplings, weights }
    }
}

fn slice<'a>(data: *const f32, n: i64) -> &'a [f32] {
    if data.is_null() || n <= 0 {
        return &[];
    }
    // SAFETY: the scorer's array of this length, which holds as long as the borrow that the caller gives it.
    unsafe { std::slice::from_raw_parts(data, n as usize) }
}

/// A reference's part in an explanation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Explanation {
    /// Which reference, for [`Sketch::reference`].
    pub reference: usize,
    /// Its weight; 0 for scores without weights.
    pub weight: f32,
    /// Its coupling.
    pub coupling: f32,
}

/// Iterator over a result's references, strongest first.
#[derive(Clone, Debug)]
pub struct Explanations<'s> {
    order: std::vec::IntoIter<u32>,
    couplings: &'s [f32],
    weights: &'s [f32],
}

impl Iterator for Explanations<'_> {
    type Item = Explanation;

    fn next(&mut self) -> Option<Explanation> {
        let reference = self.order.next()? as usize;
        Some(Explanation { reference, weight: self.weights.get(reference).copied().unwrap_or(0.0), coupling: self.couplings[reference] })
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.order.size_hint()
    }
}

impl ExactSizeIterator for Explanations<'_> {}

/// The results of a batch, until the scorer's next call.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'s> {
    raw: &'s [sys::fa_result],
}

impl<'s> Batch<'s> {
    /// Number of inputs.
    pub fn len(&self) -> usize {
        self.raw.len()
    }
    /// Never: a batch has at least one input.
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }
    /// The result of an input.
    pub fn get(&self, index: usize) -> Option<Scored<'s>> {
        self.raw.get(index).map(|raw| Scored { raw })
    }
    /// The results in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Scored<'s>> {
        self.raw.iter().map(|raw| Scored { raw })
    }
}

impl<'s> IntoIterator for Batch<'s> {
    type Item = Scored<'s>;
    type IntoIter = std::iter::Map<std::slice::Iter<'s, sys::fa_result>, fn(&'s sys::fa_result) -> Scored<'s>>;

    fn into_iter(self) -> Self::IntoIter {
        self.raw.iter().map(|raw| Scored { raw })
    }
}
