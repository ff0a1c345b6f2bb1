// SPDX-License-Identifier: Apache-2.0
//! Scores raw float32 inputs from a file on several threads: cargo run --example score -- MODEL.onnx SKETCH.fattr INPUTS.f32 [THREADS]
use fattr::{ArrayView, Context, Model, Scorer, ScorerOptions, Sketch};
use std::{env, error::Error, fs, thread};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (model, sketch, inputs) = match &arguments[..] {
        [model, sketch, inputs, ..] => (model, sketch, inputs),
        _ => return Err("score MODEL.onnx SKETCH.fattr INPUTS.f32 [THREADS]".into()),
    };
    let threads: usize = arguments.get(3).map_or(Ok(2), |t| t.parse())?;
    let context = Context::new()?;
    let model = Model::load(&context, model)?;
    let sketch = Sketch::load(&context, sketch)?;

    let input = model.input(0)?;
    let mut shape = input.shape.ok_or("the model does not say the shape of its input")?;
    shape[0] = 1;
    let size = shape.iter().try_fold(1usize, |n, &d| usize::try_from(d).ok().map(|d| n * d)).ok_or("the model leaves its input's shape open")?;
    let elements: Vec<f32> = fs::read(inputs)?.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let items: Vec<&[f32]> = elements.chunks_exact(size).collect();

    let lines = thread::scope(|scope| {
        let share = items.chunks(((items.len() + threads - 1) / threads.max(1)).max(1));
        let crew: Vec<_> = share
            .map(|share| {
                let (sketch, model, shape) = (&sketch, &model, &shape);
                scope.spawn(move || -> fattr::Result<Vec<String>> {
                    let mut scorer = Scorer::new(sketch, model, &ScorerOptions::new())?;
                    share.iter().map(|x| line(sketch, &mut scorer, ArrayView::new(x, shape)?)).collect()
                })
            })
            .collect();
        crew.into_iter().map(|t| t.join().expect("no thread panics")).collect::<fattr::Result<Vec<_>>>()
    })?;
    for (i, line) in lines.concat().iter().enumerate() {
        println!("{i} {line}");
    }
    Ok(())
}

fn line(sketch: &Sketch, scorer: &mut Scorer, x: ArrayView<'_>) -> fattr::Result<String> {
    let scored = scorer.score(&[x])?;
    let best = scored.explanations().next().expect("a sketch has references");
    let verdict = match scored.flagged() {
        Some(true) => "flagged",
        Some(false) => "explained",
        None => "uncalibrated",
    };
    Ok(format!("{} {:.6} {:.4} {verdict}, nearest reference {}", scored.predicted(), scored.score(), scored.p_value(), sketch.reference(best.reference)?.id))
}
