// SPDX-License-Identifier: Apache-2.0
//! What the tests share: made-up pictures and one sketch.
#![allow(dead_code)]
use fattr::*;
use std::path::PathBuf;

pub const N_REF: i64 = 40;
pub const N_CAL: i64 = 39;

pub fn model_path(name: &str) -> PathBuf {
    let root = std::env::var_os("FATTR_SOURCE_ROOT").map(PathBuf::from).or_else(|| option_env!("CARGO_MANIFEST_DIR").map(|m| PathBuf::from(m).join("../../..")));
    root.expect("FATTR_SOURCE_ROOT").join("examples/models").join(name)
}

/// `n` pictures of noise, [n, 1, 28, 28] in [0, 1].
pub fn pictures(n: i64, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    (0..n * 784).map(|_| next()).collect()
}

pub struct World {
    pub context: Context,
    pub model: Model,
    pub sketch: Sketch,
    pub references: Vec<f32>,
}

pub fn refset(context: &Context, pictures: &[f32]) -> RefSet {
    RefSet::new(context, &[ArrayView::new(pictures, &[pictures.len() as i64 / 784, 1, 28, 28]).unwrap()]).unwrap()
}

pub fn world() -> World {
    let context = Context::new().unwrap();
    let model = Model::load(&context, model_path("mlp.onnx")).unwrap();
    let references = pictures(N_REF, 1);
    let (r, c) = (refset(&context, &references), refset(&context, &pictures(N_CAL, 2)));
    let sketch = Sketch::build(&model, &r, Some(&c), &SketchOptions::new()).unwrap();
    World { context, model, sketch, references }
}
