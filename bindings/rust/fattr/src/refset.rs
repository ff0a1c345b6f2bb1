// SPDX-License-Identifier: Apache-2.0
use crate::array::{self, ArrayView};
use crate::error::check;
use crate::ffi::{self, shared, Wraps};
use crate::{Context, Error, Result, Status};
use fattr_sys as sys;
use std::mem::{size_of, zeroed};
use std::ptr::{null, NonNull};

/// A copy of trusted inputs: references, or held-out ones for calibration.
#[derive(Debug)]
pub struct RefSet(pub(crate) NonNull<sys::fa_refset>);

impl Wraps for RefSet {
    type Raw = sys::fa_refset;
}
shared!(RefSet, sys::fa_refset_retain, sys::fa_refset_release);

impl RefSet {
    /// Copies inputs, one array `[n, ...]` per model input; ids are 0 to n - 1.
    pub fn new(context: &Context, inputs: &[ArrayView<'_>]) -> Result<Self> {
        Self::with(context, inputs, None, None)
    }
    /// The same with true classes (-1 where unknown) and with ids, distinct numbers of the caller's; n of each.
    pub fn with(context: &Context, inputs: &[ArrayView<'_>], labels: Option<&[i64]>, ids: Option<&[i64]>) -> Result<Self> {
        let n = array::rows(inputs)?;
        if let Some(wrong) = [labels, ids].iter().flatten().find(|s| s.len() != n) {
            return Err(Error::new(Status::Shape, format!("{} labels or ids for {n} inputs", wrong.len())));
        }
        // SAFETY: all zero is a valid options struct, filled in by init.
        let mut o: sys::fa_refset_options = unsafe { zeroed() };
        unsafe { sys::fa_refset_options_init(&mut o, size_of::<sys::fa_refset_options>()) };
        o.labels = labels.map_or(null(), |s| s.as_ptr());
        o.ids = ids.map_or(null(), |s| s.as_ptr());
        let (data, count) = array::raw(inputs);
        // SAFETY: all pointers are valid during the call, labels and ids for n elements.
        ffi::make(|out| unsafe { sys::fa_refset_create(context.as_ptr(), data, count, &o, out) }).map(RefSet)
    }
    /// Number of inputs.
    pub fn len(&self) -> usize {
        // SAFETY: the set is alive.
        unsafe { sys::fa_refset_count(self.as_ptr()) as usize }
    }
    /// Never: a set has at least one input.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The id of an input.
    pub fn id(&self, index: usize) -> Result<i64> {
        let mut id = 0;
        // SAFETY: room for one number.
        check(unsafe { sys::fa_refset_get_id(self.as_ptr(), i64::try_from(index).unwrap_or(-1), &mut id) })?;
        Ok(id)
    }
    /// Digest of shapes, types, elements, labels and ids.
    pub fn digest(&self) -> Result<[u8; 16]> {
        let mut digest = [0; 16];
        // SAFETY: room for 16 bytes.
        check(unsafe { sys::fa_refset_digest(self.as_ptr(), digest.as_mut_ptr()) })?;
        Ok(digest)
    }
}
