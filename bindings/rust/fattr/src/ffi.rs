// SPDX-License-Identifier: Apache-2.0
//! What the wrappers of C objects share.
use crate::{Error, Result, Status};
use std::ffi::{CStr, CString};
use std::os::raw::c_char;
use std::path::Path;

/// A copy of C text; "" for NULL.
///
/// # Safety
/// `text` is NULL or ends in a zero byte, and stays until this returns.
pub(crate) unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    CStr::from_ptr(text).to_string_lossy().into_owned()
}

/// Text for C.
pub(crate) fn c_text(text: impl Into<Vec<u8>>) -> Result<CString> {
    CString::new(text).map_err(|_| Error::new(Status::Argument, "a name or path holds a zero byte"))
}

/// A path for C.
pub(crate) fn c_path(path: &Path) -> Result<CString> {
    #[cfg(unix)]
    return c_text(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()));
    #[cfg(not(unix))]
    return c_text(path.to_str().ok_or_else(|| Error::new(Status::Argument, "the path is no UTF-8"))?);
}

/// An index for C.
pub(crate) fn index(i: usize) -> Result<i32> {
    i32::try_from(i).map_err(|_| Error::new(Status::Argument, format!("index {i} is too large")))
}

/// Wrapper of a C object that is reference-counted and immutable: Clone retains, Drop releases, any thread.
macro_rules! shared {
    ($name:ident, $retain:path, $release:path) => {
        impl $name {
            /// For the C interface; still owned here.
            pub fn as_ptr(&self) -> *mut <Self as $crate::ffi::Wraps>::Raw {
                self.0.as_ptr()
            }
        }
        impl Clone for $name {
            fn clone(&self) -> Self {
                // SAFETY: the pointer is alive as long as self; retain returns it.
                $name(unsafe { std::ptr::NonNull::new_unchecked($retain(self.as_ptr())) })
            }
        }
        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: this reference is given back once.
                unsafe { $release(self.as_ptr()) }
            }
        }
        // SAFETY: the C library promises immutable, reference-counted objects that any number of threads may use.
        unsafe impl Send for $name {}
        unsafe impl Sync for $name {}
    };
}
pub(crate) use shared;

/// Builder methods of an options struct `raw`.
macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)*) => {$(
        $(#[$doc])*
        pub fn $name(mut self, value: $type) -> Self {
            self.raw.$name = value;
            self
        }
    )*};
}
pub(crate) use setters;

/// The C type behind a wrapper.
pub trait Wraps {
    /// The C type.
    type Raw;
}

/// Calls a constructor that writes a pointer.
pub(crate) fn make<T>(create: impl FnOnce(*mut *mut T) -> fattr_sys::fa_status) -> Result<std::ptr::NonNull<T>> {
    let mut out = std::ptr::null_mut();
    crate::error::check(create(&mut out))?;
    std::ptr::NonNull::new(out).ok_or_else(|| Error::new(Status::Internal, "a constructor returned no object"))
}
