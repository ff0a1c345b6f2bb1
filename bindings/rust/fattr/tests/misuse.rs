// SPDX-License-Identifier: Apache-2.0
//! What is refused, and how it is said; closures that break off or panic.
mod common;
use common::*;
use fattr::*;
use std::ops::ControlFlow;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::Duration;

#[test]
fn arrays() {
    let w = world();
    let x = pictures(2, 3);
    for shape in [&[2, 784, 2][..], &[-1, -1], &[2, 1, 28, 27], &[1; 9], &[], &[i64::MAX, i64::MAX]] {
        assert_eq!(ArrayView::new(&x, shape).unwrap_err().status(), Status::Shape, "{shape:?}");
    }
    let mut scorer = Scorer::new(&w.sketch, &w.model, &ScorerOptions::new().max_batch(4)).unwrap();
    let mut fails = |view: ArrayView, status: Status| assert_eq!(scorer.score_batch(&[view]).unwrap_err().status(), status);
    fails(ArrayView::new(&x, &[2, 784]).unwrap(), Status::Shape);
    fails(ArrayView::new(&x[..0], &[0, 1, 28, 28]).unwrap(), Status::Argument);
    fails(ArrayView::new(&x, &[2, 1, 28, 28]).unwrap().named(std::ffi::CStr::from_bytes_with_nul(b"nothing\0").unwrap()), Status::Argument);
    let mut bad = x.clone();
    bad[1000] = f32::NAN;
    fails(ArrayView::new(&bad, &[2, 1, 28, 28]).unwrap(), Status::NotFinite);
    let many = pictures(5, 4);
    fails(ArrayView::new(&many, &[5, 1, 28, 28]).unwrap(), Status::Limit);
    assert_eq!(scorer.score(&[]).unwrap_err().status(), Status::Argument);
    assert_eq!(scorer.score_batch(&[]).unwrap_err().status(), Status::Shape);
    let view = ArrayView::new(&x, &[2, 1, 28, 28]).unwrap();
    assert!(scorer.score(&[view]).is_err() && scorer.score_batch(&[view, view]).is_err());
    let named = view.named(std::ffi::CStr::from_bytes_with_nul(b"image\0").unwrap());
    assert_eq!(scorer.score_batch(&[named]).unwrap().len(), 2);
    let bytes: Vec<u8> = x.iter().map(|&v| (v * 4.0) as u8).collect();
    let reals: Vec<f64> = bytes.iter().map(|&v| v.into()).collect();
    let a = scorer.score_batch(&[ArrayView::new(&bytes, &[2, 1, 28, 28]).unwrap()]).unwrap().get(1).unwrap().score();
    let b = scorer.score_batch(&[ArrayView::new(&reals, &[2, 1, 28, 28]).unwrap()]).unwrap().get(1).unwrap().score();
    assert_eq!(a, b);
}

#[test]
fn files_and_options() {
    let w = world();
    let e = Model::load(&w.context, "/nowhere.onnx").unwrap_err();
    assert!(e.status() == Status::Io && e.message().contains("/nowhere.onnx") && e.to_string() == e.message());
    assert_eq!(Model::load(&w.context, "a\0b").unwrap_err().status(), Status::Argument);
    assert_eq!(Model::from_bytes(&w.context, b"junk", &ModelOptions::new()).unwrap_err().status(), Status::Format);
    assert!(Model::from_bytes(&w.context, &[], &ModelOptions::new()).is_err() && Sketch::from_bytes(&w.context, &[]).is_err());
    assert_eq!(Sketch::load(&w.context, "/").unwrap_err().status(), Status::Io);
    let clean = Model::load(&w.context, model_path("clean.onnx")).unwrap();
    assert_eq!(Scorer::new(&w.sketch, &clean, &ScorerOptions::new()).unwrap_err().status(), Status::Mismatch);
    assert_eq!(w.sketch.check_model(&clean).unwrap_err().status(), Status::Mismatch);
    for o in [ScorerOptions::new().alpha(0.001), ScorerOptions::new().alpha(f64::NAN), ScorerOptions::new().max_batch(-3), ScorerOptions::new().max_batch(1 << 20)] {
        assert_eq!(Scorer::new(&w.sketch, &w.model, &o).unwrap_err().status(), Status::Argument);
    }
    assert_eq!(Context::with(&ContextOptions::new().threads(-1)).unwrap_err().status(), Status::Argument);
    let small = Context::with(&ContextOptions::new().memory_limit(1000).kernels(Kernels::Reference)).unwrap();
    assert_eq!(Model::load(&small, model_path("mlp.onnx")).unwrap_err().status(), Status::Memory);
    assert!(SketchOptions::new().layers("a\0b").is_err());
    for i in [1 << 20, usize::MAX] {
        assert!(w.model.layer(i).is_err() && w.model.input(i).is_err() && w.model.output(i).is_err() && w.model.node(i).is_err());
        assert!(w.sketch.layer(i).is_err() && w.sketch.reference(i).is_err());
    }
    assert_eq!(Status::Shape.code(), -8);
}

#[test]
fn sets() {
    let w = world();
    let x = pictures(3, 1);
    let view = [ArrayView::new(&x, &[3, 1, 28, 28]).unwrap()];
    assert_eq!(RefSet::with(&w.context, &view, Some(&[1, 2]), None).unwrap_err().status(), Status::Shape);
    assert_eq!(RefSet::with(&w.context, &view, None, Some(&[5, 5, 5])).unwrap_err().status(), Status::Argument);
    assert!(RefSet::new(&w.context, &[]).is_err() && RefSet::new(&w.context, &[ArrayView::new(&x[..1], &[]).unwrap()]).is_err());
    let set = RefSet::new(&w.context, &view).unwrap();
    assert!(set.id(3).is_err() && set.id(usize::MAX).is_err() && !set.is_empty());
}

#[test]
fn progress_breaks_and_panics() {
    let w = world();
    let set = refset(&w.context, &w.references);
    let used = w.context.memory_used();
    let options = SketchOptions::new().batch(4);
    let mut calls = 0;
    let told = |stage: &str, done: i64, total: i64| {
        assert!(!stage.is_empty() && done <= total);
        calls += 1;
        ControlFlow::Continue(())
    };
    Sketch::build_with_progress(&w.model, &set, None, &options, told).unwrap();
    assert!(calls > 0);
    let e = Sketch::build_with_progress(&w.model, &set, None, &options, |_, _, _| ControlFlow::Break(())).unwrap_err();
    assert_eq!(e.status(), Status::Cancelled);
    let build = || Sketch::build_with_progress(&w.model, &set, None, &options, |_, _, _| panic!("mine"));
    let panic = catch_unwind(AssertUnwindSafe(build)).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"mine"));
    assert_eq!(w.context.memory_used(), used);
    let clean = Model::load(&w.context, model_path("clean.onnx")).unwrap();
    let big = refset(&w.context, &pictures(400, 1));
    assert_eq!(Sketch::build(&clean, &big, None, &SketchOptions::new().timeout(Duration::from_micros(1))).unwrap_err().status(), Status::Cancelled);
}

#[cfg(feature = "ndarray")]
#[test]
fn ndarrays() {
    let w = world();
    let mut scorer = Scorer::new(&w.sketch, &w.model, &ScorerOptions::new().max_batch(2)).unwrap();
    let x = ndarray::Array4::from_shape_vec((2, 1, 28, 28), pictures(2, 3)).unwrap();
    let want = scorer.score_batch(&[(&x).try_into().unwrap()]).unwrap().get(1).unwrap().score();
    let part = x.slice(ndarray::s![1..2, .., .., ..]);
    let got = scorer.score(&[(&part).try_into().unwrap()]).unwrap().score();
    assert!((want - got).abs() < 1e-5);
    let mirrored = x.slice(ndarray::s![.., .., .., ..;-1]);
    assert_eq!(ArrayView::try_from(&mirrored).unwrap_err().status(), Status::Shape);
    let copied = mirrored.as_standard_layout();
    assert!(ArrayView::try_from(&copied).is_ok());
}

#[test]
fn send_and_sync() {
    fn both<T: Send + Sync>() {}
    both::<Context>();
    both::<Model>();
    both::<RefSet>();
    both::<Sketch>();
    both::<Tensor>();
    both::<Scorer>();
    both::<Error>();
    both::<ArrayView<'_>>();
    both::<SketchOptions>();
}
