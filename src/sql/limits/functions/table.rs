//! The limits of each function.

/// Returns the maximum bytes of a result, for the bytes and the integer values of the arguments.
type ResultBytes = fn(&[usize], &[usize]) -> usize;

/// The cost of a function.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CostModel {
    pub(crate) steps: Steps,
    pub(crate) result: ResultBytes,
    /// Whether the result may be much larger than the arguments.
    pub(crate) grows: bool,
}

/// The steps that a function takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Steps {
    /// One step for each byte of the arguments.
    Bytes,
    /// In the worst case, one step for each pair of items, or bytes, of the first two arguments.
    Product,
    /// In the worst case, one step for each byte of text and each state of the regular expression.
    Regex,
}

/// Functions with results of a fixed size that take at most one step for each byte.
const PLAIN: &str = "\
    array_dims array_length array_ndims ascii bit_length cardinality character_length chr empty octet_length starts_with \
    to_hex";

/// Functions with results that are at most a small factor larger than their first argument.
const LINEAR: &str = "\
    array_any_value array_distinct array_element array_except array_has array_intersect array_max array_min \
    array_pop_back array_pop_front array_position array_positions array_remove array_remove_all array_reverse \
    array_slice array_sort flatten initcap left lower reverse right substr upper";

/// Functions like [`LINEAR`] that compare each part of the first argument with each of the second.
const COMPARING: &str = "\
    array_has_all array_has_any btrim contains ends_with find_in_set like ilike ltrim rtrim split_part strpos \
    substr_index translate";

/// Functions of regular expressions, with results no larger than their first argument.
const REGEX: &str = "\
    regexp_count regexp_instr regexp_like regexp_match";

/// Functions with results that may be much larger than their arguments.
const GROWING: &[(&str, Steps, ResultBytes)] = &[
    // Numbers are written as text.
    ("||", Steps::Bytes, |bytes, _| sum(bytes).saturating_add(32 * bytes.len())),
    ("concat", Steps::Bytes, |bytes, _| sum(bytes)),
    ("concat_ws", Steps::Bytes, |bytes, _| sum(bytes).saturating_add(at(bytes, 0).saturating_mul(bytes.len()))),
    ("make_array", Steps::Bytes, |bytes, _| sum(bytes).saturating_add(8 * bytes.len())),
    ("repeat", Steps::Bytes, |bytes, numbers| at(bytes, 0).saturating_mul(at(numbers, 1))),
    ("lpad", Steps::Bytes, |bytes, numbers| at(bytes, 0).saturating_add(at(numbers, 1).saturating_mul(4))),
    ("rpad", Steps::Bytes, |bytes, numbers| at(bytes, 0).saturating_add(at(numbers, 1).saturating_mul(4))),
    ("replace", Steps::Product, |bytes, _| replaced(at(bytes, 0), at(bytes, 2))),
    ("regexp_replace", Steps::Regex, |bytes, _| replaced(at(bytes, 0), at(bytes, 2))),
    // One character of the format may become a word of a date.
    ("to_char", Steps::Bytes, |bytes, _| at(bytes, 1).saturating_mul(32)),
];

/// Returns the sum of sizes.
fn sum(bytes: &[usize]) -> usize {
    bytes.iter().fold(0, |sum: usize, bytes| sum.saturating_add(*bytes))
}

/// Returns a size, or 0 for a missing argument.
fn at(values: &[usize], index: usize) -> usize {
    values.get(index).copied().unwrap_or(0)
}

/// Returns the maximum size after a replacement: every byte, and the end, may be replaced.
fn replaced(text: usize, by: usize) -> usize {
    text.saturating_add((text.saturating_add(1)).saturating_mul(by))
}

/// Returns the size of the first argument, with room for letters that triple in size when their case changes, and for
/// positions that are larger than the items at them.
fn like_first(bytes: &[usize], _: &[usize]) -> usize {
    at(bytes, 0).saturating_mul(3).saturating_add(16)
}

/// Returns whether a list of names contains a name.
fn has(names: &str, name: &str) -> bool {
    names.split(' ').any(|known| known == name)
}

/// Returns the limits of a function; `None` if it needs none.
pub(crate) fn cost_model(name: &str) -> Option<CostModel> {
    let linear = |steps| Some(CostModel { steps, result: like_first, grows: false });
    if has(LINEAR, name) {
        return linear(Steps::Bytes);
    }
    if has(COMPARING, name) {
        return linear(Steps::Product);
    }
    if has(REGEX, name) {
        return linear(Steps::Regex);
    }
    let (_, steps, result) = *GROWING.iter().find(|(growing, ..)| *growing == name)?;
    Some(CostModel { steps, result, grows: true })
}

/// Returns the names of all functions, including those without limits.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    let lists = [PLAIN, LINEAR, COMPARING, REGEX].into_iter().flat_map(|names| names.split(' '));
    lists.chain(GROWING.iter().map(|(name, ..)| *name))
}
