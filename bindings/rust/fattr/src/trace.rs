// SPDX-License-Identifier: Apache-2.0
use fattr_sys as sys;
use std::mem::{size_of, zeroed};

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

/// Options of a trace sketch, for [`crate::SketchOptions::trace`].
#[derive(Clone, Debug)]
pub struct TraceOptions {
    pub(crate) raw: sys::fa_trace_options,
}

// SAFETY: plain numbers; the pointers in it are null.
unsafe impl Send for TraceOptions {}
unsafe impl Sync for TraceOptions {}

impl TraceOptions {
    /// The defaults.
    pub fn new() -> Self {
        // SAFETY: all zero is a valid options struct, filled in by init.
        let mut raw: sys::fa_trace_options = unsafe { zeroed() };
        unsafe { sys::fa_trace_options_init(&mut raw, size_of::<sys::fa_trace_options>()) };
        TraceOptions { raw }
    }
    crate::ffi::setters! {
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
        /// Id of the first chain; default 0. Sketches to be merged need other seeds or other ids.
        first_chain: u64;
    }
    /// Default [`Sampler::Gaussian`].
    pub fn sampler(mut self, sampler: Sampler) -> Self {
        self.raw.sampler = sampler as i32;
        self
    }
}

impl Default for TraceOptions {
    fn default() -> Self {
        Self::new()
    }
}
