// SPDX-License-Identifier: Apache-2.0
//! Was a network's output produced by the mechanisms it uses on inputs we trust, or by something else? libfattr answers that input by input, by
//! functional attribution (arXiv 2604.18970).
//!
//! ```
//! use fattr::{ArrayView, Context, Model, RefSet, Scorer, ScorerOptions, Sketch, SketchOptions};
//! # fn pictures(n: usize) -> Vec<f32> { (0..n * 784).map(|i| (i * 7919 % 1009) as f32 / 1009.0).collect() }
//! # fn main() -> fattr::Result<()> {
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../examples/models/mlp.onnx");
//! # let (trusted, held_out, image) = (pictures(40), pictures(59)[40 * 784 - 5..59 * 784 - 5].to_vec(), pictures(1));
//! let context = Context::new()?;
//! let model = Model::load(&context, path)?;
//! let references = RefSet::new(&context, &[ArrayView::new(&trusted, &[40, 1, 28, 28])?])?;
//! let calibration = RefSet::new(&context, &[ArrayView::new(&held_out, &[19, 1, 28, 28])?])?;
//! let sketch = Sketch::build(&model, &references, Some(&calibration), &SketchOptions::new())?;
//!
//! let mut scorer = Scorer::new(&sketch, &model, &ScorerOptions::new())?; // one per thread
//! let scored = scorer.score(&[ArrayView::new(&image, &[1, 1, 28, 28])?])?;
//! println!("score {:.3}, p {:.3}, flagged: {:?}", scored.score(), scored.p_value(), scored.flagged());
//! for e in scored.explanations().take(3) {
//!     println!("reference {}: weight {:.2}, coupling {:.2}", sketch.reference(e.reference)?.id, e.weight, e.coupling);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Scores: higher = more anomalous. [`Context`], [`Model`], [`RefSet`], [`Sketch`] and [`Mechanisms`] are immutable and shared: cloning one takes another reference, and any
//! number of threads may use one. A [`Scorer`] moves between threads, and scoring takes it by `&mut`. Errors carry the C library's status and words.

mod array;
mod context;
mod error;
mod ffi;
mod language;
mod loss;
mod mechanisms;
mod metrics;
mod model;
mod monitor;
mod refset;
mod scorer;
mod sketch;
mod trace;

pub use array::{ArrayView, Element};
pub use context::{Context, ContextOptions, Kernels};
pub use error::{Error, Result, Status};
pub use language::{GenerateOptions, Token, Tokens};
pub use loss::{Loss, OutputBatch};
pub use mechanisms::{Mechanism, Mechanisms};
pub use metrics::{detection_metrics, DetectionMetrics};
pub use model::{Layer, Model, ModelInfo, ModelOptions, Node, Packing, Precision, Tensor, Value};
pub use monitor::{Monitor, MonitorState};
pub use refset::RefSet;
pub use scorer::{Batch, Explanation, Explanations, Score, Scored, Scorer, ScorerOptions, Signatures, Timing};
pub use sketch::{Blocks, Reference, Sketch, SketchInfo, SketchLayer, SketchOptions};
pub use trace::{BatchNorm, Sampler, Storage, TraceOptions};

/// The loaded library's version, "0.1.0".
pub fn version() -> String {
    // SAFETY: static text.
    unsafe { ffi::text(fattr_sys::fa_version_string()) }
}

/// How the loaded library was built, and the kernels chosen on this CPU.
pub fn build_info() -> String {
    // SAFETY: this thread's text, copied before its next call.
    unsafe { ffi::text(fattr_sys::fa_build_info()) }
}
