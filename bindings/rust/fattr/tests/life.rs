// SPDX-License-Identifier: Apache-2.0
//! The whole life: build, score, explain, save, load, share.
mod common;
use common::*;
use fattr::*;
use std::thread;

#[test]
fn references_explain_themselves() {
    let w = world();
    let mut scorer = Scorer::new(&w.sketch, &w.model, &ScorerOptions::new().max_batch(8).residual(true).all_scores(true)).unwrap();
    let info = w.sketch.info().unwrap();
    assert_eq!((info.reference_count, info.calibration_count, info.class_count), (40, 39, 10));
    let shape = [1, 1, 28, 28];
    for i in [0usize, 7, 39] {
        let scored = scorer.score(&[ArrayView::new(&w.references[784 * i..784 * (i + 1)], &shape).unwrap()]).unwrap();
        let e: Vec<Explanation> = scored.explanations().collect();
        assert_eq!((e.len(), e[0].reference), (40, i));
        assert!((e[0].coupling - 1.0).abs() < 1e-4 && e.windows(2).all(|p| p[0].weight >= p[1].weight));
        assert_eq!(e[3].weight, scored.weights()[e[3].reference]);
        assert_eq!((scored.couplings().len(), scored.residual().len()), (40, info.signature_length));
        assert_eq!(scored.score_of(Score::Cone), Some(scored.score()));
        assert_eq!(scored.flagged(), Some(scored.p_value() <= 0.05));
        assert_eq!(scored.predicted(), w.sketch.reference(i).unwrap().predicted);
        assert!(scored.confidence() > 0.1 && !scored.no_signal());
    }
    assert!(scorer.timing().unwrap().forward_ns > 0);
    let batch_shape = [8, 1, 28, 28];
    let batch = scorer.score_batch(&[ArrayView::new(&w.references[..8 * 784], &batch_shape).unwrap()]).unwrap();
    assert_eq!((batch.len(), batch.iter().len()), (8, 8));
    for (i, scored) in batch.into_iter().enumerate() {
        assert_eq!(scored.explanations().next().unwrap().reference, i);
    }
}

#[test]
fn scores_without_weights_are_explained_by_couplings() {
    let w = world();
    let mut scorer = Scorer::new(&w.sketch, &w.model, &ScorerOptions::new().score(Score::TopK)).unwrap();
    let x = pictures(1, 9);
    let scored = scorer.score(&[ArrayView::new(&x, &[1, 1, 28, 28]).unwrap()]).unwrap();
    assert!(scored.weights().is_empty() && scored.residual().is_empty() && scored.score_of(Score::Cone).is_none());
    let best = scored.explanations().next().unwrap();
    assert_eq!(best.coupling, scored.couplings().iter().copied().fold(f32::MIN, f32::max));
    assert_eq!(best.weight, 0.0);
}

#[test]
fn models_describe_themselves() {
    let w = world();
    let info = w.model.info().unwrap();
    assert_eq!((info.class_count, info.input_count), (Some(10), 1));
    assert_eq!(w.model.input(0).unwrap(), Value { name: "image".into(), dtype: 1, shape: Some(vec![-1, 1, 28, 28]) });
    assert!(w.model.layer(0).unwrap().outputs > 0 && !w.model.node(0).unwrap().op.is_empty() && !w.model.output(0).unwrap().name.is_empty());
    assert_eq!(w.model.digest().unwrap(), w.sketch.info().unwrap().model_digest);
    let logits = w.model.run(&[ArrayView::new(&w.references, &[40, 1, 28, 28]).unwrap()], None).unwrap();
    assert_eq!((logits.shape(), logits.elements::<f32>().unwrap().len(), logits.elements::<i64>()), (&[40, 10][..], 400, None));
    let bytes = std::fs::read(model_path("mlp.onnx")).unwrap();
    let again = Model::from_bytes(&w.context, &bytes, &ModelOptions::new().output(&info.logits).unwrap()).unwrap();
    let rounded = Model::from_bytes(&w.context, &bytes, &ModelOptions::new().precision(Precision::Bf16)).unwrap();
    assert_eq!((info.precision, rounded.info().unwrap().precision), (Precision::F32, Precision::Bf16));
    let once = Model::from_bytes(&w.context, &bytes, &ModelOptions::new().packing(Packing::Once)).unwrap();
    let same = once.run(&[ArrayView::new(&w.references, &[40, 1, 28, 28]).unwrap()], None).unwrap();
    assert_eq!(same.elements::<f32>(), logits.elements::<f32>());
    let near = rounded.run(&[ArrayView::new(&w.references, &[40, 1, 28, 28]).unwrap()], None).unwrap();
    assert_ne!(near.elements::<f32>(), logits.elements::<f32>());
    assert_eq!(again.digest().unwrap(), w.model.digest().unwrap());
    assert!(!version().is_empty() && build_info().contains("libfattr") && !w.context.kernels().is_empty());
}

#[test]
fn models_have_options() {
    let w = world();
    let path = model_path("../../tests/fuzz/corpus/onnx/branches.onnx");
    let (x, p, q) = ([3f32, -4.0], [true], [false]);
    let bound = [ArrayView::new(&p, &[]).unwrap().named(c_name(b"p\0")), ArrayView::new(&q, &[]).unwrap().named(c_name(b"q\0"))];
    let model = Model::load_with(&w.context, &path, &ModelOptions::new().bound(&bound).plan_cache(1)).unwrap();
    assert_eq!(model.info().unwrap().input_count, 1);
    let y = model.run(&[ArrayView::new(&x, &[2]).unwrap()], None).unwrap();
    assert_eq!(y.elements::<f32>().unwrap(), [-9.0, -16.0]);
    for plans in [-1, 1025] {
        let error = Model::load_with(&w.context, &path, &ModelOptions::new().plan_cache(plans)).unwrap_err();
        assert!(error.status() == Status::Argument && error.message().contains("fa_model_options.plan_cache"), "{error}");
    }
    let error = Model::load_with(&w.context, &path, &ModelOptions::new().output("nothing").unwrap()).unwrap_err();
    assert!(error.message().contains("nothing"), "{error}");
    assert_eq!(ModelOptions::new().output("a\0b").unwrap_err().status(), Status::Argument);
}

fn c_name(name: &[u8]) -> &std::ffi::CStr {
    std::ffi::CStr::from_bytes_with_nul(name).unwrap()
}

#[test]
fn sketches_are_files() {
    let w = world();
    let path = std::env::temp_dir().join(format!("fattr-rust-{}.fattr", std::process::id()));
    w.sketch.save(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for read in [Sketch::load(&w.context, &path).unwrap(), Sketch::from_bytes(&w.context, &bytes).unwrap()] {
        read.check_model(&w.model).unwrap();
        assert_eq!(read.info().unwrap(), w.sketch.info().unwrap());
        assert_eq!(read.audit(Score::Span).unwrap(), w.sketch.audit(Score::Span).unwrap());
    }
    std::fs::remove_file(path).unwrap();
    assert_eq!(w.sketch.calibration(Score::Cone).unwrap().len(), 39);
    let bare = w.sketch.recalibrate(&w.model, None, &SketchOptions::new()).unwrap();
    assert_eq!(bare.calibration(Score::Cone).unwrap_err().status(), Status::State);
    assert!(!w.sketch.layer(0).unwrap().dropped);
    let x = pictures(1, 3);
    let mut scorer = Scorer::new(&bare, &w.model, &ScorerOptions::new()).unwrap();
    let scored = scorer.score(&[ArrayView::new(&x, &[1, 1, 28, 28]).unwrap()]).unwrap();
    assert!(scored.flagged().is_none() && scored.p_value().is_nan());
}

#[test]
fn sets_keep_labels_and_ids() {
    let w = world();
    let (labels, ids): (Vec<i64>, Vec<i64>) = (vec![3; 40], (100..140).collect());
    let shape = [40, 1, 28, 28];
    let set = RefSet::with(&w.context, &[ArrayView::new(&w.references, &shape).unwrap()], Some(&labels), Some(&ids)).unwrap();
    assert_eq!((set.len(), set.id(39).unwrap()), (40, 139));
    let options = SketchOptions::new().k_in(4).k_out(4).blocks(Blocks::Plain).loss(Loss::CrossEntropy).seed(7).layers(&w.model.layer(2).unwrap().name).unwrap();
    let sketch = Sketch::build(&w.model, &set, None, &options).unwrap();
    assert_eq!(sketch.reference(2).unwrap().label, Some(3));
    assert_eq!((sketch.reference(2).unwrap().id, sketch.info().unwrap().layer_count), (102, 1));
}

#[test]
fn a_gradient_of_ones_own() {
    let w = world();
    let margin = |b: &OutputBatch<'_>, to: &mut [f32]| {
        for (z, g) in b.outputs.chunks(b.length).zip(to.chunks_mut(b.length)) {
            let best = (0..z.len()).max_by(|&i, &j| z[i].total_cmp(&z[j])).ok_or("no classes")?;
            g.fill(0.25);
            g[best] = -2.25;
        }
        Ok(())
    };
    let shape = [40, 1, 28, 28];
    let set = RefSet::new(&w.context, &[ArrayView::new(&w.references, &shape).unwrap()]).unwrap();
    let ours = Sketch::build(&w.model, &set, None, &SketchOptions::new().output_gradient(margin)).unwrap();
    let plain = Sketch::build(&w.model, &set, None, &SketchOptions::new()).unwrap();
    assert_eq!(Scorer::new(&ours, &w.model, &ScorerOptions::new()).unwrap_err().status(), Status::State);
    let (x, one) = (pictures(1, 5), [1, 1, 28, 28]);
    let view = [ArrayView::new(&x, &one).unwrap()];
    let mut scorer = Scorer::new(&ours, &w.model, &ScorerOptions::new().output_gradient(margin)).unwrap();
    let want = Scorer::new(&plain, &w.model, &ScorerOptions::new()).unwrap().score(&view).unwrap().score();
    let got = scorer.score(&view).unwrap();
    assert!((got.score() - want).abs() < 1e-5 && got.predicted() == -1);
    let error = Sketch::build(&w.model, &set, None, &SketchOptions::new().output_gradient(|_, _| Err("not today".into()))).unwrap_err();
    assert!(error.status() == Status::Argument && error.message().contains("not today"), "{error}");
    let error = Sketch::build(&w.model, &set, None, &SketchOptions::new().output_gradient(|_, _| panic!("lost"))).unwrap_err();
    assert_eq!(error.status(), Status::Cancelled);
}

#[test]
fn threads_share_a_sketch() {
    let w = world();
    let x = pictures(6, 5);
    let score_all = |mut scorer: Scorer| -> Vec<f64> {
        x.chunks(784).map(|p| scorer.score(&[ArrayView::new(p, &[1, 1, 28, 28]).unwrap()]).unwrap().score()).collect()
    };
    let want = score_all(Scorer::new(&w.sketch, &w.model, &ScorerOptions::new()).unwrap());
    thread::scope(|scope| {
        let crew: Vec<_> = (0..4)
            .map(|_| {
                let scorer = Scorer::new(&w.sketch, &w.model, &ScorerOptions::new()).unwrap(); // made here, used there
                scope.spawn(|| score_all(scorer))
            })
            .collect();
        for t in crew {
            assert_eq!(t.join().unwrap(), want);
        }
    });
}

#[test]
fn owners_may_go_in_any_order() {
    let World { context, model, sketch, .. } = world();
    let (other, copy) = (sketch.clone(), context.clone());
    let mut scorer = Scorer::new(&sketch, &model, &ScorerOptions::new()).unwrap();
    drop((context, model, sketch, other));
    let x = pictures(1, 3);
    scorer.score(&[ArrayView::new(&x, &[1, 1, 28, 28]).unwrap()]).unwrap();
    assert!(copy.memory_used() > 0 && copy.memory_peak() >= copy.memory_used());
    drop(scorer);
    assert_eq!(copy.memory_used(), 0);
}

#[test]
fn trace_sketches() {
    let w = world();
    let (r, c) = (refset(&w.context, &w.references), refset(&w.context, &pictures(N_CAL, 2)));
    let build = |chain| Sketch::build(&w.model, &r, Some(&c), &SketchOptions::new().trace(TraceOptions::new().draws(10).first_chain(chain))).unwrap();
    let (first, second) = (build(0), build(1));
    let merged = Sketch::merge(&[&second, &first]).unwrap();
    assert!(merged.info().unwrap().is_trace && !w.sketch.info().unwrap().is_trace);
    let mut scorer = Scorer::new(&merged, &w.model, &ScorerOptions::new().score(Score::MeanCcc)).unwrap();
    let scored = scorer.score(&[ArrayView::new(&w.references[..784], &[1, 1, 28, 28]).unwrap()]).unwrap();
    assert_eq!((scored.draws(), scored.score_of(Score::MeanCcc)), (20, Some(scored.score())));
    assert_eq!(Sketch::merge(&[]).unwrap_err().status(), Status::Argument);
    assert_eq!(Sketch::merge(&[&w.sketch]).unwrap_err().status(), Status::Argument);
    let sgld = SketchOptions::new().trace(TraceOptions::new().sampler(Sampler::Sgld).draws(1));
    assert_eq!(Sketch::build(&w.model, &r, None, &sgld).unwrap_err().status(), Status::Argument);
}

#[test]
fn trace_options_reach_the_library() {
    let w = world();
    let (r, other) = (refset(&w.context, &w.references), refset(&w.context, &pictures(30, 8)));
    let chain = || TraceOptions::new().sampler(Sampler::RmspropSgld).draws(4).burn_in(3).minibatch(16);
    let build = |t: TraceOptions| Sketch::build(&w.model, &r, None, &SketchOptions::new().trace(t)).and_then(|s| s.audit(Score::Mean));
    let plain = build(chain()).unwrap();
    assert_eq!(build(chain()).unwrap(), plain);
    // Each changes the draws, and is a pointer or a number that C reads.
    let sampling = chain().sampling(&other);
    drop(other);
    for t in [sampling, chain().parameters("*0*").unwrap(), chain().noise(0.5), chain().decay(0.5), chain().epsilon(1.0), chain().storage(Storage::Int8), chain().partial(true)] {
        assert_ne!(build(t.clone()).map_err(|e| e.to_string()), Ok(plain.clone()), "{t:?}");
    }
    assert_eq!(build(chain().batchnorm(BatchNorm::Reestimate)).unwrap_err().status(), Status::Argument); // the model has none
    assert_eq!(chain().parameters("a\0b").unwrap_err().status(), Status::Argument);
    let path = std::env::temp_dir().join(format!("fattr-checkpoint-{}", std::process::id()));
    let kept = chain().checkpoint(&path, std::time::Duration::from_millis(1)).unwrap();
    assert_eq!(build(kept.clone()).unwrap(), plain);
    assert!(path.exists());
    assert_eq!(build(kept.clone().resume(true)).unwrap(), plain);
    std::fs::write(&path, "torn").unwrap();
    assert_eq!(build(kept.resume(true)).unwrap_err().status(), Status::Format);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn shards_merge() {
    let w = world();
    let c = refset(&w.context, &pictures(N_CAL, 2));
    let shape = [20, 1, 28, 28];
    let part = |first: usize| {
        let ids: Vec<i64> = (first as i64..first as i64 + 20).collect();
        RefSet::with(&w.context, &[ArrayView::new(&w.references[784 * first..784 * (first + 20)], &shape).unwrap()], None, Some(&ids)).unwrap()
    };
    let (a, b) = (part(0), part(20));
    let kept = SketchOptions::new().keep_moments(true);
    let (s, t) = (Sketch::build(&w.model, &a, None, &kept).unwrap(), Sketch::build(&w.model, &b, None, &kept).unwrap());
    let merged = Sketch::merge_shards(&w.model, &[(&t, &b), (&s, &a)], Some(&c), &SketchOptions::new()).unwrap();
    assert_eq!(merged.info().unwrap().reference_count, 40);
    for (x, y) in merged.calibration(Score::Cone).unwrap().iter().zip(w.sketch.calibration(Score::Cone).unwrap()) {
        assert!((x - y).abs() < 1e-5);
    }
    let refused = |shards: &[(&Sketch, &RefSet)]| Sketch::merge_shards(&w.model, shards, None, &SketchOptions::new()).unwrap_err().status();
    assert_eq!(refused(&[(&s, &b), (&t, &a)]), Status::Mismatch);
    assert_eq!(refused(&[(&w.sketch, &refset(&w.context, &w.references))]), Status::State);
    assert_eq!(refused(&[]), Status::Argument);
}

#[test]
fn mechanisms_are_told_apart() {
    let w = world();
    let mut scorer = Scorer::new(&w.sketch, &w.model, &ScorerOptions::new().residual(true)).unwrap();
    let none = Mechanisms::new(&w.sketch, None, None).unwrap();
    let mut x = pictures(12, 9);
    for (i, v) in x[..6 * 784].iter_mut().enumerate() {
        *v = 0.1 * *v + if i % 28 % 14 < 7 { 0.9 } else { 0.0 }; // half of them striped
    }
    let mut prints = Vec::new();
    for picture in x.chunks(784) {
        prints.extend(none.fingerprint(scorer.score(&[ArrayView::new(picture, &[1, 1, 28, 28]).unwrap()]).unwrap().residual()).unwrap());
    }
    let (groups, known) = none.group(&prints).unwrap();
    assert!(none.is_empty() && known.len() >= 2 && groups[..6].iter().all(|g| *g == groups[0]) && groups[6..].iter().all(|g| *g != groups[0]));
    let one = &prints[..none.fingerprint_length()];
    assert_eq!((none.assign(one).unwrap().0, known.clone().assign(one).unwrap().0), (None, Some(groups[0])));
    let path = std::env::temp_dir().join(format!("fattr-mechanisms-{}", std::process::id()));
    known.save(&path).unwrap();
    let again = Mechanisms::load(&w.sketch, &path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!((again.len(), again.get(0).unwrap()), (known.len(), known.get(0).unwrap()));
    assert_eq!(again.get(0).unwrap().center.len(), one.len());
    assert_eq!(again.get(known.len()).unwrap_err().status(), Status::Argument);
    for short in [none.fingerprint(&one[1..]).map(|_| ()), none.assign(&one[1..]).map(|_| ()), none.group(&prints[1..]).map(|_| ())] {
        assert_eq!(short.unwrap_err().status(), Status::Shape);
    }
    assert_eq!(Mechanisms::new(&w.sketch, Some(2.0), None).unwrap_err().status(), Status::Argument);
}

#[test]
fn monitors_watch_the_stream() {
    let context = Context::new().unwrap();
    let mut monitor = Monitor::new(&context, None, 1000).unwrap();
    assert!(!monitor.update(&[0.5; 50]).unwrap());
    let path = std::env::temp_dir().join(format!("fattr-monitor-{}", std::process::id()));
    monitor.save(&path).unwrap();
    let mut again = Monitor::load(&context, &path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(again.state().unwrap(), monitor.state().unwrap());
    assert!(again.update(&[0.001; 40]).unwrap() && again.state().unwrap().alarm_at > Some(50));
    again.reset().unwrap();
    assert_eq!((again.state().unwrap().count, again.state().unwrap().alarm_at), (0, None));
    assert_eq!(again.update(&[f64::NAN]).unwrap_err().status(), Status::Argument);
    assert_eq!(Monitor::new(&context, Some(2.0), 0).unwrap_err().status(), Status::Argument);
}

#[test]
fn metrics() {
    let m = detection_metrics(&[0.1, 0.2, 0.3], &[0.25, 0.9]).unwrap();
    assert!((m.auroc - 5.0 / 6.0).abs() < 1e-12);
    assert_eq!(detection_metrics(&[f64::NAN], &[1.0]).unwrap_err().status(), Status::NotFinite);
    assert_eq!(detection_metrics(&[], &[1.0]).unwrap_err().status(), Status::Argument);
}

/// A small language model's own continuations as references, one scored as a whole and token by token.
#[test]
fn responses_token_by_token() {
    let context = Context::new().unwrap();
    let model = Model::load(&context, model_path("../../tests/data/oracle_tokens_tied.onnx")).unwrap();
    let prompts: Vec<i64> = (0..40 * 4).map(|i| i * i % 13).collect();
    let lengths: Vec<i64> = (0..40).map(|i| 1 + i % 4).collect();
    let prompts = ArrayView::new(&prompts, &[40, 4]).unwrap();
    let options = GenerateOptions::new().tokens(6).lengths(&lengths);
    let (tokens, mask) = model.generate(&prompts, &options).unwrap();
    assert_eq!((tokens.shape(), mask.shape()), (&[40, 10][..], &[40, 10][..]));
    let (x, m) = (tokens.elements::<i64>().unwrap(), mask.elements::<u8>().unwrap());
    let view = |from: usize, to: usize, shape: &'static [i64]| [ArrayView::new(&x[from * 10..to * 10], shape).unwrap(), ArrayView::new(&m[from * 10..to * 10], shape).unwrap().mask()];
    let references = RefSet::new(&context, &view(0, 30, &[30, 10])).unwrap();
    let sketch = Sketch::build(&model, &references, None, &SketchOptions::new().loss(Loss::NextToken)).unwrap();
    let mut scorer = Scorer::new(&sketch, &model, &ScorerOptions::new()).unwrap();
    let confidence = scorer.score(&view(35, 36, &[1, 10])).unwrap().confidence();
    let found = scorer.score_tokens(&view(35, 36, &[1, 10])).unwrap();
    assert_eq!(found.tokens().len(), 6);
    for (i, t) in found.tokens().iter().enumerate() {
        assert_eq!((t.position, t.token), (lengths[35] + i as i64, x[350 + t.position as usize]));
        assert!(found.couplings(i).len() == 30 && found.weights(i).len() == 30 && found.weights(i).iter().all(|&w| w >= 0.0));
    }
    let mean = found.tokens().iter().map(|t| t.loss).sum::<f64>() / 6.0;
    assert!(((-mean).exp() - confidence).abs() < 1e-5);

    // The mask by another way: targets where it is 1.
    let target: Vec<i64> = x[350..360].iter().zip(&m[350..360]).map(|(&x, &m)| if m == 1 { x } else { -1 }).collect();
    let by_target = [ArrayView::new(&x[350..360], &[1, 10]).unwrap(), ArrayView::new(&target, &[1, 10]).unwrap().target()];
    assert!((scorer.score(&by_target).unwrap().confidence() - confidence).abs() < 1e-6);

    let nothing = [0u8; 10];
    let empty = [view(35, 36, &[1, 10])[0], ArrayView::new(&nothing, &[1, 10]).unwrap().mask()];
    assert_eq!(scorer.score_tokens(&empty).unwrap_err().status(), Status::Argument);
    assert_eq!(model.generate(&prompts, &options.clone().lengths(&[1])).unwrap_err().status(), Status::Shape);
    assert_eq!(model.generate(&prompts, &options.tokens(9)).unwrap_err().status(), Status::Shape);
}
