// SPDX-License-Identifier: Apache-2.0
use crate::error::check;
use crate::Result;
use fattr_sys as sys;
use std::mem::{size_of, zeroed};

/// How well a score tells anomalous inputs from clean ones.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct DetectionMetrics {
    /// Area under the ROC curve, ties count one half.
    pub auroc: f64,
    /// Average precision, anomalous = positive.
    pub aupr: f64,
    /// Average precision, clean = positive.
    pub aupr_clean: f64,
    /// False positive rate at the first threshold with a true positive rate of at least 0.95.
    pub fpr95: f64,
}

/// Metrics of scores (higher = more anomalous) of clean and anomalous inputs, at least one each, none NaN.
pub fn detection_metrics(clean: &[f64], anomalous: &[f64]) -> Result<DetectionMetrics> {
    // SAFETY: plain data; the slices are valid during the call.
    let mut m: sys::fa_detection_metrics = unsafe { zeroed() };
    m.struct_size = size_of::<sys::fa_detection_metrics>();
    check(unsafe { sys::fa_detection_metrics_compute(clean.as_ptr(), clean.len() as i64, anomalous.as_ptr(), anomalous.len() as i64, 1.0, 1.0, &mut m) })?;
    Ok(DetectionMetrics { auroc: m.auroc, aupr: m.aupr, aupr_clean: m.aupr_clean, fpr95: m.fpr95 })
}
