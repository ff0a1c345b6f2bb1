// SPDX-License-Identifier: Apache-2.0
use crate::array::{self, ArrayView, Element};
use crate::error::check;
use crate::ffi::{self, shared, Wraps};
use crate::{Context, Result};
use fattr_sys as sys;
use std::ffi::CString;
use std::mem::{size_of, zeroed};
use std::path::Path;
use std::ptr::{null, NonNull};

/// A network: graph and weights.
#[derive(Debug)]
pub struct Model(pub(crate) NonNull<sys::fa_model>);

impl Wraps for Model {
    type Raw = sys::fa_model;
}
shared!(Model, sys::fa_model_retain, sys::fa_model_release);

/// A model in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelInfo {
    /// Elements of all real-valued initialisers and constants.
    pub parameter_count: i64,
    /// Version of the default operator set.
    pub opset: i64,
    /// Inputs without an initialiser.
    pub input_count: usize,
    /// Outputs.
    pub output_count: usize,
    /// Nodes.
    pub node_count: usize,
    /// Layers with weights that a sketch can tap.
    pub layer_count: usize,
    /// Columns of the logits; None when the file does not say.
    pub class_count: Option<usize>,
    /// Name of the value taken as logits.
    pub logits: String,
    /// What wrote the file.
    pub producer: String,
    /// What its layers are computed in.
    pub precision: Precision,
}

/// An input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Its name.
    pub name: String,
    /// FA_FLOAT32, ...
    pub dtype: i32,
    /// -1 where a dimension is open; None when the file does not say.
    pub shape: Option<Vec<i64>>,
}

/// A node of the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Never empty.
    pub name: String,
    /// Operator type, "Conv".
    pub op: String,
    /// Name of its first output.
    pub output: String,
}

/// A layer with weights; its weight gradient is `[outputs, inputs]` per group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The node's name, what a layer pattern is matched against.
    pub name: String,
    /// Operator type.
    pub op: String,
    /// Name of the weight value.
    pub weight: String,
    /// Inputs of one output, 1 for the bias included.
    pub inputs: i64,
    /// Output channels or features, of all groups.
    pub outputs: i64,
    /// Groups.
    pub groups: i64,
    /// Whether it has a bias.
    pub has_bias: bool,
}

/// What layers are computed in; fattr/model.h says which and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[non_exhaustive]
pub enum Precision {
    /// float; default.
    F32 = sys::FA_PRECISION_F32,
    /// Weights and what they multiply are rounded to bfloat16: up to twice as fast on CPUs that multiply those.
    Bf16 = sys::FA_PRECISION_BF16,
}

impl Precision {
    pub(crate) fn from_raw(raw: i32) -> Self {
        if raw == sys::FA_PRECISION_BF16 {
            Self::Bf16
        } else {
            Self::F32
        }
    }
}

/// How weights are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[non_exhaustive]
pub enum Packing {
    /// In whatever order is fastest for either direction; default.
    Fast = sys::FA_PACKING_FAST,
    /// Once, in about the file's size; a pass takes longer.
    Once = sys::FA_PACKING_ONCE,
}

/// Options of a model.
#[derive(Clone, Debug)]
pub struct ModelOptions<'a> {
    raw: sys::fa_model_options,
    output: Option<CString>,
    bound: &'a [ArrayView<'a>],
}

// SAFETY: plain numbers; the pointers in it are null until a call.
unsafe impl Send for ModelOptions<'_> {}
unsafe impl Sync for ModelOptions<'_> {}

impl<'a> ModelOptions<'a> {
    /// The defaults.
    pub fn new() -> Self {
        // SAFETY: all zero is a valid options struct, filled in by init.
        let mut raw: sys::fa_model_options = unsafe { zeroed() };
        unsafe { sys::fa_model_options_init(&mut raw, size_of::<sys::fa_model_options>()) };
        ModelOptions { raw, output: None, bound: &[] }
    }
    /// Names the value that holds the logits; default: the first output.
    pub fn output(mut self, name: &str) -> Result<Self> {
        self.output = Some(ffi::c_text(name)?);
        Ok(self)
    }
    /// Inputs that are the same in every run, by their names ([`ArrayView::named`]): part of the model from then on.
    pub fn bound(mut self, inputs: &'a [ArrayView<'a>]) -> Self {
        self.bound = inputs;
        self
    }
    /// What layers are computed in.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.raw.precision = precision as i32;
        self
    }
    /// How weights are held.
    pub fn packing(mut self, packing: Packing) -> Self {
        self.raw.packing = packing as i32;
        self
    }
    ffi::setters! {
        /// Sizes of inputs and values that [`Model::run`] stays ready for, 1 to 1024; default 8.
        plan_cache: i64;
    }
    fn with_c<T>(&self, f: impl FnOnce(&sys::fa_model_options) -> T) -> T {
        let mut o = self.raw;
        o.output = self.output.as_ref().map_or(null(), |n| n.as_ptr());
        (o.bound, o.bound_count) = array::raw(self.bound);
        f(&o)
    }
}

impl Default for ModelOptions<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl Model {
    /// Reads an ONNX file; its first output holds the logits.
    pub fn load(context: &Context, path: impl AsRef<Path>) -> Result<Self> {
        Self::load_with(context, path, &ModelOptions::new())
    }
    /// The same with options.
    pub fn load_with(context: &Context, path: impl AsRef<Path>, options: &ModelOptions<'_>) -> Result<Self> {
        let path = ffi::c_path(path.as_ref())?;
        // SAFETY: all pointers are valid during the call.
        options.with_c(|o| ffi::make(|out| unsafe { sys::fa_model_load_file(context.as_ptr(), path.as_ptr(), o, out) })).map(Model)
    }
    /// The same from the file's bytes, which are not kept.
    pub fn from_bytes(context: &Context, bytes: &[u8], options: &ModelOptions<'_>) -> Result<Self> {
        // SAFETY: all pointers are valid during the call.
        options.with_c(|o| ffi::make(|out| unsafe { sys::fa_model_load_memory(context.as_ptr(), bytes.as_ptr().cast(), bytes.len(), o, out) })).map(Model)
    }

    /// Digest of graph and weights: the same for two files that hold the same network.
    pub fn digest(&self) -> Result<[u8; 16]> {
        let mut digest = [0; 16];
        // SAFETY: room for FA_DIGEST_SIZE bytes.
        check(unsafe { sys::fa_model_digest(self.as_ptr(), digest.as_mut_ptr()) })?;
        Ok(digest)
    }
    /// The model in numbers.
    pub fn info(&self) -> Result<ModelInfo> {
        // SAFETY: plain data; the texts belong to the model and are copied.
        let mut i: sys::fa_model_info = unsafe { zeroed() };
        i.struct_size = size_of::<sys::fa_model_info>();
        check(unsafe { sys::fa_model_get_info(self.as_ptr(), &mut i) })?;
        Ok(ModelInfo {
            parameter_count: i.parameter_count,
            opset: i.opset,
            input_count: i.input_count as usize,
            output_count: i.output_count as usize,
            node_count: i.node_count as usize,
            layer_count: i.layer_count as usize,
            class_count: usize::try_from(i.class_count).ok(),
            logits: unsafe { ffi::text(i.logits) },
            producer: unsafe { ffi::text(i.producer) },
            precision: Precision::from_raw(i.precision),
        })
    }
    /// An input.
    pub fn input(&self, index: usize) -> Result<Value> {
        self.value(index, sys::fa_model_get_input)
    }
    /// An output.
    pub fn output(&self, index: usize) -> Result<Value> {
        self.value(index, sys::fa_model_get_output)
    }
    fn value(&self, index: usize, get: unsafe extern "C" fn(*const sys::fa_model, i32, *mut sys::fa_value_info) -> i32) -> Result<Value> {
        // SAFETY: plain data; the texts belong to the model and are copied.
        let mut v: sys::fa_value_info = unsafe { zeroed() };
        check(unsafe { get(self.as_ptr(), ffi::index(index)?, &mut v) })?;
        let shape = usize::try_from(v.ndim).ok().map(|n| v.shape[..n].to_vec());
        Ok(Value { name: unsafe { ffi::text(v.name) }, dtype: v.dtype, shape })
    }
    /// A node, in topological order.
    pub fn node(&self, index: usize) -> Result<Node> {
        // SAFETY: as above.
        let mut n: sys::fa_node_info = unsafe { zeroed() };
        check(unsafe { sys::fa_model_get_node(self.as_ptr(), ffi::index(index)?, &mut n) })?;
        Ok(unsafe { Node { name: ffi::text(n.name), op: ffi::text(n.op), output: ffi::text(n.output) } })
    }
    /// A layer with weights.
    pub fn layer(&self, index: usize) -> Result<Layer> {
        // SAFETY: as above.
        let mut l: sys::fa_layer_info = unsafe { zeroed() };
        check(unsafe { sys::fa_model_get_layer(self.as_ptr(), ffi::index(index)?, &mut l) })?;
        let (name, op, weight) = unsafe { (ffi::text(l.name), ffi::text(l.op), ffi::text(l.weight)) };
        Ok(Layer { name, op, weight, inputs: l.in_, outputs: l.out, groups: l.groups, has_bias: l.has_bias != 0 })
    }

    /// Runs the network and returns one of its values: of a node the first output; None: the logits.
    pub fn run(&self, inputs: &[ArrayView<'_>], name: Option<&str>) -> Result<Tensor> {
        let name = name.map(ffi::c_text).transpose()?;
        let (data, count) = array::raw(inputs);
        // SAFETY: all pointers are valid during the call.
        ffi::make(|out| unsafe { sys::fa_model_run(self.as_ptr(), data, count, name.as_ref().map_or(null(), |n| n.as_ptr()), out) }).map(Tensor)
    }
}

/// An array that the library made.
#[derive(Debug)]
pub struct Tensor(pub(crate) NonNull<sys::fa_tensor>);

// SAFETY: immutable.
unsafe impl Send for Tensor {}
unsafe impl Sync for Tensor {}

impl Drop for Tensor {
    fn drop(&mut self) {
        // SAFETY: released once.
        unsafe { sys::fa_tensor_release(self.0.as_ptr()) }
    }
}

impl Tensor {
    fn view(&self) -> sys::fa_array {
        // SAFETY: the tensor is alive and never null: the call cannot fail.
        unsafe {
            let mut view = zeroed();
            sys::fa_tensor_view(self.0.as_ptr(), &mut view);
            view
        }
    }
    /// The dimensions.
    pub fn shape(&self) -> &[i64] {
        let v = self.view();
        if v.ndim == 0 {
            return &[];
        }
        // SAFETY: points into the tensor.
        unsafe { std::slice::from_raw_parts(v.shape, v.ndim as usize) }
    }
    /// The elements; None when they are not of this type. Reals are f32, all else i64.
    pub fn elements<T: Element>(&self) -> Option<&[T]> {
        let v = self.view();
        let n: i64 = self.shape().iter().product();
        if v.dtype != T::DTYPE {
            return None;
        }
        // SAFETY: points into the tensor, which holds n elements of this type.
        Some(if n == 0 { &[] } else { unsafe { std::slice::from_raw_parts(v.data.cast(), n as usize) } })
    }
}
