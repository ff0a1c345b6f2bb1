// SPDX-License-Identifier: Apache-2.0
//! The C interface of libfattr. The crate `fattr` is a safe layer over it; what the functions mean stands in the C headers.
#![allow(non_camel_case_types, non_upper_case_globals, clippy::all, rustdoc::all)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
