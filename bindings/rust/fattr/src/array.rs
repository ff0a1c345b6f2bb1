// SPDX-License-Identifier: Apache-2.0
use crate::{Error, Result, Status};
use fattr_sys as sys;
use std::ffi::CStr;
use std::marker::PhantomData;
use std::os::raw::c_void;

mod sealed {
    pub trait Sealed {}
}

/// Element types of arrays.
pub trait Element: sealed::Sealed + Copy + Send + Sync + 'static {
    /// FA_FLOAT32, ...
    const DTYPE: i32;
}

macro_rules! elements {
    ($($type:ty = $dtype:ident),*) => {$(
        impl sealed::Sealed for $type {}
        impl Element for $type {
            const DTYPE: i32 = sys::$dtype;
        }
    )*};
}
elements!(f32 = FA_FLOAT32, f64 = FA_FLOAT64, u8 = FA_UINT8, i8 = FA_INT8, u16 = FA_UINT16, i16 = FA_INT16, u32 = FA_UINT32, i32 = FA_INT32, u64 = FA_UINT64, i64 = FA_INT64,
    bool = FA_BOOL);

/// A C-contiguous array of the caller's, `[n, ...]` as a model input. Copies nothing.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)] // a slice of views is a slice of fa_array
pub struct ArrayView<'a> {
    raw: sys::fa_array,
    borrowed: PhantomData<&'a ()>,
}

// SAFETY: a shared borrow of elements and shape that are Sync, and of a CStr.
unsafe impl Send for ArrayView<'_> {}
unsafe impl Sync for ArrayView<'_> {}

impl<'a> ArrayView<'a> {
    /// A view of `elements` with a shape whose product is their number.
    ///
    /// # Errors
    /// [`Status::Shape`] when it is not, for a negative dimension, and for more than 8 dimensions.
    pub fn new<T: Element>(elements: &'a [T], shape: &'a [i64]) -> Result<Self> {
        let mut count = Some(1usize);
        for &d in shape {
            count = count.zip(usize::try_from(d).ok()).and_then(|(n, d)| n.checked_mul(d));
        }
        if count != Some(elements.len()) || shape.len() > sys::FA_MAX_DIMS as usize {
            return Err(Error::new(Status::Shape, format!("{} elements are no array of shape {shape:?}", elements.len())));
        }
        Ok(ArrayView {
            raw: sys::fa_array { data: elements.as_ptr().cast::<c_void>(), shape: shape.as_ptr(), ndim: shape.len() as i32, dtype: T::DTYPE, name: std::ptr::null() },
            borrowed: PhantomData,
        })
    }

    /// The same for the model input of this name; without, inputs are taken by position.
    pub fn named(mut self, name: &'a CStr) -> Self {
        self.raw.name = name.as_ptr();
        self
    }

    /// The same as a mask beside the inputs of a model with an output at every position: what each counts; of a language model 1 where a token belongs to the response.
    pub fn mask(mut self) -> Self {
        self.raw.name = sys::FA_ARRAY_MASK.as_ptr().cast();
        self
    }

    /// The same as targets beside them: integers, the class that each output is held against, negative for none.
    pub fn target(mut self) -> Self {
        self.raw.name = sys::FA_ARRAY_TARGET.as_ptr().cast();
        self
    }

    /// The dimensions.
    pub fn shape(&self) -> &'a [i64] {
        // SAFETY: made of a slice of this length that lives for 'a.
        unsafe { std::slice::from_raw_parts(self.raw.shape, self.raw.ndim as usize) }
    }
}

/// A call's inputs as C takes them. More than i32::MAX become -1, which the library refuses.
pub(crate) fn raw(inputs: &[ArrayView<'_>]) -> (*const sys::fa_array, i32) {
    (inputs.as_ptr().cast(), i32::try_from(inputs.len()).unwrap_or(-1))
}

/// `n` of the first input.
pub(crate) fn rows(inputs: &[ArrayView<'_>]) -> Result<usize> {
    let first = inputs.first().and_then(|a| a.shape().first()).and_then(|&n| usize::try_from(n).ok());
    first.ok_or_else(|| Error::new(Status::Shape, "each input is an array [n, ...]"))
}

#[cfg(all(feature = "ndarray", target_pointer_width = "64"))]
impl<'a, T: Element, S: ndarray::Data<Elem = T>, D: ndarray::Dimension> TryFrom<&'a ndarray::ArrayBase<S, D>> for ArrayView<'a> {
    type Error = Error;

    /// [`Status::Shape`] for an array that is not in standard (C) layout: `as_standard_layout()` copies it.
    fn try_from(array: &'a ndarray::ArrayBase<S, D>) -> Result<Self> {
        let elements = array.as_slice().ok_or_else(|| Error::new(Status::Shape, "the array is not in standard layout; as_standard_layout() copies it"))?;
        let shape = array.shape();
        // SAFETY: usize and i64 have one layout here, and ndarray keeps dimensions below isize::MAX.
        ArrayView::new(elements, unsafe { std::slice::from_raw_parts(shape.as_ptr().cast::<i64>(), shape.len()) })
    }
}
