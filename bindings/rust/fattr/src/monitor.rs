// SPDX-License-Identifier: Apache-2.0
use crate::error::check;
use crate::{ffi, Context, Result};
use fattr_sys as sys;
use std::mem::{size_of, zeroed};
use std::path::Path;
use std::ptr::NonNull;

/// Has the traffic as a whole left the references? It bets against that, p-value by p-value.
#[derive(Debug)]
pub struct Monitor(NonNull<sys::fa_monitor>);

// SAFETY: C asks for one thread at a time, not for a certain one. Sync: what takes &self only reads, and the rest takes &mut self.
unsafe impl Send for Monitor {}
unsafe impl Sync for Monitor {}

impl Drop for Monitor {
    fn drop(&mut self) {
        // SAFETY: destroyed once.
        unsafe { sys::fa_monitor_destroy(self.0.as_ptr()) }
    }
}

/// What a monitor has seen.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct MonitorState {
    /// p-values seen.
    pub count: usize,
    /// Natural logarithm of the wealth now; begins at 0.
    pub log_wealth: f64,
    /// At which the alarm is raised.
    pub log_threshold: f64,
    /// How many p-values had been seen when it first was.
    pub alarm_at: Option<usize>,
    /// What a p-value counts for at least.
    pub smallest_p: f64,
}

impl Monitor {
    /// A monitor that has seen nothing. `false_alarm`: chance that a clean stream, however long, ever raises the alarm; `None`: 0.01. `calibration_count`:
    /// inputs in the calibration set of the p-values; 0: p-values are exactly valid one given the others.
    pub fn new(context: &Context, false_alarm: Option<f64>, calibration_count: usize) -> Result<Self> {
        // SAFETY: all zero is a valid options struct, filled in by init.
        let mut o: sys::fa_monitor_options = unsafe { zeroed() };
        unsafe { sys::fa_monitor_options_init(&mut o, size_of::<sys::fa_monitor_options>()) };
        o.false_alarm = false_alarm.unwrap_or(o.false_alarm);
        o.calibration_count = i64::try_from(calibration_count).unwrap_or(-1);
        // SAFETY: all pointers are valid during the call.
        ffi::make(|out| unsafe { sys::fa_monitor_create(context.as_ptr(), &o, out) }).map(Monitor)
    }
    /// Goes on from a file.
    pub fn load(context: &Context, path: impl AsRef<Path>) -> Result<Self> {
        let path = ffi::c_path(path.as_ref())?;
        // SAFETY: all pointers are valid during the call.
        ffi::make(|out| unsafe { sys::fa_monitor_load_file(context.as_ptr(), path.as_ptr(), out) }).map(Monitor)
    }
    /// Writes options and state to a file, atomically.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = ffi::c_path(path.as_ref())?;
        // SAFETY: both pointers are valid during the call.
        check(unsafe { sys::fa_monitor_save_file(self.0.as_ptr(), path.as_ptr()) })
    }
    /// Goes on with p-values in the order of the inputs; whether the alarm was ever raised. One outside (0, 1] is refused, and nothing is changed.
    pub fn update(&mut self, p_values: &[f64]) -> Result<bool> {
        // SAFETY: the slice is valid during the call.
        check(unsafe { sys::fa_monitor_update(self.0.as_ptr(), p_values.as_ptr(), p_values.len() as i64) })?;
        Ok(self.state()?.alarm_at.is_some())
    }
    /// What it has seen.
    pub fn state(&self) -> Result<MonitorState> {
        // SAFETY: plain data.
        let mut s: sys::fa_monitor_state = unsafe { zeroed() };
        s.struct_size = size_of::<sys::fa_monitor_state>();
        check(unsafe { sys::fa_monitor_get(self.0.as_ptr(), &mut s) })?;
        let alarm_at = (s.alarm_at > 0).then_some(s.alarm_at as usize);
        Ok(MonitorState { count: s.count as usize, log_wealth: s.log_wealth, log_threshold: s.log_threshold, alarm_at, smallest_p: s.smallest_p })
    }
    /// Forgets what was seen: a new bet, with `false_alarm` of its own.
    pub fn reset(&mut self) -> Result<()> {
        // SAFETY: the monitor is alive.
        check(unsafe { sys::fa_monitor_reset(self.0.as_ptr()) })
    }
}
