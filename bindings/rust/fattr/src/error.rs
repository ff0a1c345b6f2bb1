// SPDX-License-Identifier: Apache-2.0
use crate::ffi;
use fattr_sys as sys;
use std::fmt;

/// What a call returns.
pub type Result<T> = std::result::Result<T, Error>;

macro_rules! statuses {
    ($($name:ident = $code:ident),* $(,)?) => {
        /// The C library's status codes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Status {
            $(#[doc = concat!("`", stringify!($code), "`")] $name,)*
            /// A code that this crate does not know.
            Other(i32),
        }
        impl Status {
            fn new(code: i32) -> Self {
                match code {
                    $(sys::$code => Status::$name,)*
                    other => Status::Other(other),
                }
            }
            /// The number.
            pub fn code(self) -> i32 {
                match self {
                    $(Status::$name => sys::$code,)*
                    Status::Other(code) => code,
                }
            }
        }
    };
}

statuses! {
    Argument = FA_ERR_ARGUMENT, Memory = FA_ERR_MEMORY, Io = FA_ERR_IO, Format = FA_ERR_FORMAT, Checksum = FA_ERR_CHECKSUM, Version = FA_ERR_VERSION,
    Unsupported = FA_ERR_UNSUPPORTED, Shape = FA_ERR_SHAPE, Dtype = FA_ERR_DTYPE, NotFinite = FA_ERR_NOT_FINITE, Mismatch = FA_ERR_MISMATCH,
    NoSignal = FA_ERR_NO_SIGNAL, Cancelled = FA_ERR_CANCELLED, Limit = FA_ERR_LIMIT, State = FA_ERR_STATE, Internal = FA_ERR_INTERNAL,
}

/// A call failed: why, in words that name the node, field, array or file offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    status: Status,
    message: String,
}

impl Error {
    pub(crate) fn new(status: Status, message: impl Into<String>) -> Self {
        Error { status, message: message.into() }
    }
    /// The kind.
    pub fn status(&self) -> Status {
        self.status
    }
    /// The words.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// The error of a call that has just been made on this thread, if it is one.
pub(crate) fn check(status: sys::fa_status) -> Result<()> {
    if status == sys::FA_OK {
        return Ok(());
    }
    // SAFETY: this thread's text, copied before its next call.
    Err(Error::new(Status::new(status), unsafe { ffi::text(sys::fa_error_message()) }))
}
