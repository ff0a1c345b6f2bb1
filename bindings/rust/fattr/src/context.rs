// SPDX-License-Identifier: Apache-2.0
use crate::ffi::{self, shared, Wraps};
use crate::Result;
use fattr_sys as sys;
use std::mem::{size_of, MaybeUninit};
use std::ptr::NonNull;

/// Kernel sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Kernels {
    /// The fastest that the library has and this CPU runs.
    Auto = sys::FA_KERNELS_AUTO,
    /// Plain C, the same everywhere.
    Reference = sys::FA_KERNELS_REFERENCE,
    /// As `Auto`, but an error where only the reference set is to be had.
    Fast = sys::FA_KERNELS_FAST,
}

/// Options of a context.
#[derive(Clone, Debug)]
pub struct ContextOptions(sys::fa_context_options);

impl ContextOptions {
    /// The defaults.
    pub fn new() -> Self {
        let mut o = MaybeUninit::zeroed();
        // SAFETY: fills in the whole struct; all zero is a valid one already.
        unsafe {
            sys::fa_context_options_init(o.as_mut_ptr(), size_of::<sys::fa_context_options>());
            ContextOptions(o.assume_init())
        }
    }
    /// Threads that building a sketch may use, 1 to 256; default 1.
    pub fn threads(mut self, n: i32) -> Self {
        self.0.threads = n;
        self
    }
    /// Default [`Kernels::Auto`].
    pub fn kernels(mut self, kernels: Kernels) -> Self {
        self.0.kernels = kernels as i32;
        self
    }
    /// Bytes that all objects of the context may hold together; 0 (default): no limit.
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.0.memory_limit = bytes;
        self
    }
}

impl Default for ContextOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// What every other object hangs on; they hold references of their own, so this one may go first.
#[derive(Debug)]
pub struct Context(pub(crate) NonNull<sys::fa_context>);

impl Wraps for Context {
    type Raw = sys::fa_context;
}
shared!(Context, sys::fa_context_retain, sys::fa_context_release);

impl Context {
    /// A context with the default options.
    pub fn new() -> Result<Self> {
        Self::with(&ContextOptions::new())
    }
    /// A context.
    pub fn with(options: &ContextOptions) -> Result<Self> {
        // SAFETY: both pointers are valid during the call.
        ffi::make(|out| unsafe { sys::fa_context_create(&options.0, out) }).map(Context)
    }
    /// Bytes that this context's objects hold now.
    pub fn memory_used(&self) -> u64 {
        // SAFETY: as below.
        unsafe { sys::fa_context_memory_used(self.as_ptr()) }
    }
    /// The most bytes they ever held together.
    pub fn memory_peak(&self) -> u64 {
        // SAFETY: as below.
        unsafe { sys::fa_context_memory_peak(self.as_ptr()) }
    }
    /// The kernel set in use.
    pub fn kernels(&self) -> String {
        // SAFETY: the context is alive; the text is static.
        unsafe { ffi::text(sys::fa_context_kernels(self.as_ptr())) }
    }
}
