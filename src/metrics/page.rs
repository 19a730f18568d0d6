//! Writes the Prometheus text format in chunks.

use std::fmt::Write as _;

/// Bytes of a chunk.
pub(super) const CHUNK_BYTES: usize = 64 * 1024;

/// A page that is being written.
pub(super) struct Page<'a> {
    text: String,
    send: &'a mut dyn FnMut(String) -> bool,
    is_read: bool,
    is_open_metrics: bool,
}

impl<'a> Page<'a> {
    pub(super) fn new(send: &'a mut dyn FnMut(String) -> bool, is_open_metrics: bool) -> Self {
        Self { text: String::new(), send, is_read: true, is_open_metrics }
    }

    /// Returns whether the client still reads.
    pub(super) fn is_read(&self) -> bool {
        self.is_read
    }

    /// Starts a family.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        let (name, kind) = match (name.strip_suffix("_total"), kind) {
            // OpenMetrics names a counter family without the suffix of its samples, and reserves the suffix for
            // counters.
            (Some(counted), "counter") if self.is_open_metrics => (counted, kind),
            (Some(_), _) if self.is_open_metrics => (name, "unknown"),
            _ => (name, kind),
        };
        // Writing to a String cannot fail; this holds for all writes of this file.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Writes a family with one sample without labels.
    pub(super) fn single(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    /// Writes a sample.
    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.value(name, labels, Value::Float(value));
    }

    /// Writes a sample that begins with `start`, its name and at least one label, as [`start`] wrote them, and has more
    /// labels.
    pub(super) fn sample_with_start<T: AsRef<str>>(
        &mut self,
        start: &str,
        labels: impl Iterator<Item = (&'static str, T)>,
        value: Value,
    ) {
        self.text.push_str(start);
        for (label, text) in labels {
            for part in [",", label, "=\""] {
                self.text.push_str(part);
            }
            escape(text.as_ref(), &mut self.text);
            self.text.push('"');
        }
        self.text.push_str("} ");
        self.end(value);
    }

    /// Writes a sample with an integer or float value.
    pub(super) fn value(&mut self, name: &str, labels: &[(&str, &str)], value: Value) {
        start(name, labels, &mut self.text);
        self.text.push_str(if labels.is_empty() { " " } else { "} " });
        self.end(value);
    }

    /// Ends a sample with its value, and sends the chunk if it is full.
    fn end(&mut self, value: Value) {
        match value {
            Value::Integer(value) => self.text.push_str(itoa::Buffer::new().format(value)),
            Value::Float(value) => {
                let _ = write!(self.text, "{value}");
            }
        }
        self.text.push('\n');
        if self.text.len() >= CHUNK_BYTES {
            // A sample is short, so the next chunk will not have to grow.
            let chunk = std::mem::replace(&mut self.text, String::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 8));
            self.is_read = self.is_read && (self.send)(chunk);
        }
    }

    /// Sends the last chunk.
    pub(super) fn finish(mut self) {
        if self.is_open_metrics {
            self.text.push_str("# EOF\n");
        }
        if self.is_read {
            (self.send)(self.text);
        }
    }
}

/// The value of a sample.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    Integer(i64),
    Float(f64),
}

/// Writes the start of a sample, up to its last label.
pub(super) fn start(name: &str, labels: &[(&str, &str)], out: &mut String) {
    out.push_str(name);
    for (index, (label, text)) in labels.iter().enumerate() {
        out.push(if index == 0 { '{' } else { ',' });
        out.push_str(label);
        out.push_str("=\"");
        escape(text, out);
        out.push('"');
    }
}

/// Escapes a label value: backslash, quote and line feed (Prometheus text format 0.0.4).
fn escape(text: &str, out: &mut String) {
    if !text.bytes().any(|byte| matches!(byte, b'\\' | b'"' | b'\n')) {
        out.push_str(text);
        return;
    }
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests;
