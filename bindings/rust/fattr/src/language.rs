// SPDX-License-Identifier: Apache-2.0
//! Language models: continuations of prompts, and responses token by token.
use crate::array::{self, ArrayView};
use crate::ffi::{self, setters};
use crate::{Error, Model, Result, Scorer, Status, Tensor};
use fattr_sys as sys;
use std::mem::{size_of, zeroed};
use std::ptr::{null, null_mut};
use std::time::Duration;

/// Options of [`Model::generate`].
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    raw: sys::fa_generate_options,
    lengths: Option<Vec<i64>>,
}

// SAFETY: plain numbers; the pointers in it are null until a call.
unsafe impl Send for GenerateOptions {}
unsafe impl Sync for GenerateOptions {}

impl GenerateOptions {
    /// The defaults.
    pub fn new() -> Self {
        // SAFETY: all zero is a valid options struct, filled in by init.
        let mut raw: sys::fa_generate_options = unsafe { zeroed() };
        unsafe { sys::fa_generate_options_init(&mut raw, size_of::<sys::fa_generate_options>()) };
        GenerateOptions { raw, lengths: None }
    }
    setters! {
        /// New tokens of each prompt, at most; default 32.
        tokens: i64;
        /// A token that ends a response, as its last; default -1: none.
        stop: i64;
        /// What stands behind a response; default 0.
        pad: i64;
        /// Prompts per pass; default 16.
        batch: i32;
    }
    /// Tokens of each prompt, behind which its row is padding; default: all.
    pub fn lengths(mut self, lengths: &[i64]) -> Self {
        self.lengths = Some(lengths.to_vec());
        self
    }
    /// [`Status::Cancelled`] after this long; at least a millisecond.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.raw.timeout_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1);
        self
    }
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl Model {
    /// A language model's greedy continuation of prompts `[n, t]`: tokens `[n, length]` of i64, and a mask of u8 that is 1 where a token belongs to the response, for
    /// [`ArrayView::mask`].
    pub fn generate(&self, prompts: &ArrayView<'_>, options: &GenerateOptions) -> Result<(Tensor, Tensor)> {
        let n = array::rows(std::slice::from_ref(prompts))?;
        if let Some(wrong) = options.lengths.as_ref().filter(|l| l.len() != n) {
            return Err(Error::new(Status::Shape, format!("{} lengths for {n} prompts", wrong.len())));
        }
        let mut o = options.raw;
        o.lengths = options.lengths.as_ref().map_or(null(), |l| l.as_ptr());
        let mut mask = null_mut();
        let (prompt, _) = array::raw(std::slice::from_ref(prompts));
        // SAFETY: all pointers are valid during the call, lengths for n elements; the mask is set where the tokens are.
        let tokens = ffi::make(|out| unsafe { sys::fa_model_generate(self.as_ptr(), prompt, &o, out, &mut mask) })?;
        let mask = std::ptr::NonNull::new(mask).expect("fa_model_generate() sets both");
        Ok((Tensor(tokens), Tensor(mask)))
    }
}

/// A token of a response.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Token {
    /// Where in the sequence, from 1 on.
    pub position: i64,
    /// Which.
    pub token: i64,
    /// Its negative log-likelihood, nats.
    pub loss: f64,
    /// The scorer's score of this token alone.
    pub score: f64,
    /// Its signature is zero.
    pub no_signal: bool,
}

/// A response token by token.
#[derive(Clone, Debug, PartialEq)]
pub struct Tokens {
    tokens: Vec<Token>,
    couplings: Vec<f32>,
    weights: Vec<f32>,
    references: usize,
}

impl Tokens {
    /// The tokens in the order of the sequence.
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }
    /// Cosine of a token with every reference.
    ///
    /// # Panics
    /// For an index that is none.
    pub fn couplings(&self, token: usize) -> &[f32] {
        assert!(token < self.tokens.len());
        &self.couplings[token * self.references..][..self.references]
    }
    /// What explains a token, per reference; empty for scores without weights.
    ///
    /// # Panics
    /// For an index that is none.
    pub fn weights(&self, token: usize) -> &[f32] {
        assert!(token < self.tokens.len());
        if self.weights.is_empty() {
            return &[];
        }
        &self.weights[token * self.references..][..self.references]
    }
}

impl Scorer {
    /// Takes one sequence `[1, t]` of a language model apart (a sketch of [`crate::Loss::NextToken`]): which references explain which token of the response that its mask marks.
    pub fn score_tokens(&mut self, inputs: &[ArrayView<'_>]) -> Result<Tokens> {
        let room = inputs.iter().map(|a| a.shape().iter().skip(1).product::<i64>()).max().unwrap_or(0).max(1);
        let (references, with_weights) = (self.references, self.with_weights);
        let cells = usize::try_from(room).ok().and_then(|n| n.checked_mul(references)).ok_or_else(|| Error::new(Status::Memory, "the sequence is too long"))?;
        // SAFETY: plain data.
        let mut raw: Vec<sys::fa_token> = vec![unsafe { zeroed() }; room as usize];
        let (mut couplings, mut weights, mut count) = (vec![0.0; cells], vec![0.0; if with_weights { cells } else { 0 }], 0);
        let to_weights = if with_weights { weights.as_mut_ptr() } else { null_mut() };
        let (data, n) = array::raw(inputs);
        // SAFETY: the scorer is borrowed for writing; there is room for `room` tokens and as many rows of references.
        crate::error::check(unsafe { sys::fa_score_tokens(self.as_ptr(), data, n, room, raw.as_mut_ptr(), couplings.as_mut_ptr(), to_weights, &mut count) })?;
        raw.truncate(count as usize);
        couplings.truncate(count as usize * references);
        weights.truncate(count as usize * references);
        let tokens = raw.iter().map(|t| Token { position: t.position, token: t.token, loss: t.loss, score: t.score, no_signal: t.no_signal != 0 }).collect();
        Ok(Tokens { tokens, couplings, weights, references })
    }
}
