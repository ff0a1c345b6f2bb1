// SPDX-License-Identifier: Apache-2.0
use crate::error::check;
use crate::{ffi, Error, Result, Sketch, Status};
use fattr_sys as sys;
use std::mem::{size_of, zeroed};
use std::path::Path;
use std::ptr::NonNull;

/// Groups of flagged inputs by what made their outputs, known by the part of them that no references explain. Immutable: grouping more makes another one.
#[derive(Debug)]
pub struct Mechanisms {
    raw: NonNull<sys::fa_mechanisms>,
    signature_length: usize,
}

// SAFETY: the C library promises an immutable, reference-counted object that any number of threads may use.
unsafe impl Send for Mechanisms {}
unsafe impl Sync for Mechanisms {}

impl Clone for Mechanisms {
    fn clone(&self) -> Self {
        // SAFETY: the pointer is alive as long as self; retain returns it.
        Mechanisms { raw: unsafe { NonNull::new_unchecked(sys::fa_mechanisms_retain(self.as_ptr())) }, ..*self }
    }
}

impl Drop for Mechanisms {
    fn drop(&mut self) {
        // SAFETY: this reference is given back once.
        unsafe { sys::fa_mechanisms_release(self.as_ptr()) }
    }
}

/// A known group.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Mechanism {
    /// Twelve hexadecimal digits that stay as the group grows and is saved.
    pub name: String,
    /// Inputs put into it so far.
    pub count: usize,
    /// Mean similarity among its members, in (0, 1].
    pub cohesion: f64,
    /// Mean of its members' fingerprints.
    pub center: Vec<f32>,
}

impl Mechanisms {
    /// One that knows no group yet. `linkage` and `likeness` are in (0, 1]; `None`: 0.35 and 0.55. Gradient sketches only.
    pub fn new(sketch: &Sketch, linkage: Option<f64>, likeness: Option<f64>) -> Result<Self> {
        // SAFETY: all zero is a valid options struct, filled in by init.
        let mut o: sys::fa_mechanisms_options = unsafe { zeroed() };
        unsafe { sys::fa_mechanisms_options_init(&mut o, size_of::<sys::fa_mechanisms_options>()) };
        (o.linkage, o.likeness) = (linkage.unwrap_or(o.linkage), likeness.unwrap_or(o.likeness));
        // SAFETY: all pointers are valid during the call.
        let raw = ffi::make(|out| unsafe { sys::fa_mechanisms_create(sketch.as_ptr(), &o, out) })?;
        Ok(Mechanisms { raw, signature_length: sketch.info()?.signature_length })
    }
    /// Reads a file that was made with this sketch.
    pub fn load(sketch: &Sketch, path: impl AsRef<Path>) -> Result<Self> {
        let path = ffi::c_path(path.as_ref())?;
        // SAFETY: all pointers are valid during the call.
        let raw = ffi::make(|out| unsafe { sys::fa_mechanisms_load_file(sketch.as_ptr(), path.as_ptr(), out) })?;
        Ok(Mechanisms { raw, signature_length: sketch.info()?.signature_length })
    }
    /// Writes what is known to a file of its own, atomically.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = ffi::c_path(path.as_ref())?;
        // SAFETY: both pointers are valid during the call.
        check(unsafe { sys::fa_mechanisms_save_file(self.as_ptr(), path.as_ptr()) })
    }
    /// For the C interface; still owned here.
    pub fn as_ptr(&self) -> *mut sys::fa_mechanisms {
        self.raw.as_ptr()
    }
    /// Groups known.
    pub fn len(&self) -> usize {
        // SAFETY: the object is alive.
        unsafe { sys::fa_mechanisms_count(self.as_ptr()) as usize }
    }
    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Numbers in a fingerprint.
    pub fn fingerprint_length(&self) -> usize {
        // SAFETY: the object is alive.
        unsafe { sys::fa_mechanisms_fingerprint_length(self.as_ptr()) as usize }
    }
    /// A known group.
    pub fn get(&self, index: usize) -> Result<Mechanism> {
        // SAFETY: plain data; the center belongs to self and is copied.
        let mut m: sys::fa_mechanism_info = unsafe { zeroed() };
        check(unsafe { sys::fa_mechanisms_get(self.as_ptr(), i64::try_from(index).unwrap_or(-1), &mut m) })?;
        let center = unsafe { std::slice::from_raw_parts(m.center, self.fingerprint_length()) }.to_vec();
        Ok(Mechanism { name: unsafe { ffi::text(m.name.as_ptr()) }, count: m.count as usize, cohesion: m.cohesion, center })
    }
    /// The fingerprint of a scored input, of its residual by cone ([`crate::Scored::residual`]).
    pub fn fingerprint(&self, residual: &[f32]) -> Result<Vec<f32>> {
        self.expect("a residual", residual.len(), self.signature_length)?;
        let mut out = vec![0.0; self.fingerprint_length()];
        // SAFETY: both are as long as C takes them.
        check(unsafe { sys::fa_mechanisms_fingerprint(self.as_ptr(), residual.as_ptr(), out.as_mut_ptr()) })?;
        Ok(out)
    }
    /// The known group that an input is most like, or `None` for something new, and how like.
    pub fn assign(&self, fingerprint: &[f32]) -> Result<(Option<usize>, f64)> {
        self.expect("a fingerprint", fingerprint.len(), self.fingerprint_length())?;
        let (mut group, mut likeness) = (-1, 0.0);
        // SAFETY: the fingerprint is as long as C takes it; room for one number each.
        check(unsafe { sys::fa_mechanisms_assign(self.as_ptr(), fingerprint.as_ptr(), &mut group, &mut likeness) })?;
        Ok((usize::try_from(group).ok(), likeness))
    }
    /// Groups inputs into those known and new ones, from their fingerprints one after another: the group of each, and what is known now.
    pub fn group(&self, fingerprints: &[f32]) -> Result<(Vec<usize>, Self)> {
        let n = fingerprints.len() / self.fingerprint_length();
        self.expect("fingerprints", fingerprints.len(), n * self.fingerprint_length())?;
        let mut group = vec![0i64; n];
        // SAFETY: n fingerprints, and room for n numbers.
        let raw = ffi::make(|out| unsafe { sys::fa_mechanisms_group(self.as_ptr(), fingerprints.as_ptr(), n as i64, group.as_mut_ptr(), out) })?;
        Ok((group.into_iter().map(|g| g as usize).collect(), Mechanisms { raw, ..*self }))
    }
    fn expect(&self, what: &str, got: usize, want: usize) -> Result<()> {
        if got != want {
            return Err(Error::new(Status::Shape, format!("{what} of {got} numbers where {want} are taken")));
        }
        Ok(())
    }
}
