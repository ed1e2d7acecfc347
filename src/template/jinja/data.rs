//! Filters for lists and dictionaries: `combine`, `dict2items`, set operations, `subelements`.

use std::collections::HashSet;

use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, State};

use super::arguments::{Arguments, Given, separate};
use super::{described, error, is_list, items_of, pairs_of, set_of, text_of};
use crate::template::limits::{ensure_bytes, ensure_held};

/// Approximate memory of a list item, in bytes.
const SLOT: usize = 32;
/// Limit of the nesting of lists.
const MAX_DEPTH: usize = 100;

/// Adds these filters.
pub fn add_to(environment: &mut Environment) {
    environment.add_filter("combine", combine);
    environment.add_filter("dict2items", dict2items);
    environment.add_filter("items2dict", items2dict);
    environment.add_filter("extract", extract);
    environment.add_filter("flatten", |state: &State, values: &Value, given: Given| {
        ensure_held(state, values)?;
        let given = Arguments::new(given, ["levels", "skip_nulls"])?;
        let levels = match given.get(0) {
            Some(levels) if !levels.is_none() => given.size(0, 0).map(Some)?,
            _ => None,
        };
        let skip_nulls = given.get(1).is_none_or(Value::is_true);
        let mut out = Vec::new();
        flatten(values, levels, skip_nulls, MAX_DEPTH, &mut out)?;
        Ok::<Value, Error>(Value::from(out))
    });
    environment.add_filter("intersect", |left: &Value, right: &Value| {
        let (left, right) = (items_of(left)?, set_of(right)?);
        let both = left.into_iter().filter(|one| right.contains(one));
        Ok::<Value, Error>(Value::from(distinct(both)))
    });
    environment.add_filter("difference", |left: &Value, right: &Value| {
        let (left, right) = (items_of(left)?, set_of(right)?);
        let rest = left.into_iter().filter(|one| !right.contains(one));
        Ok::<Value, Error>(Value::from(distinct(rest)))
    });
    environment.add_filter("symmetric_difference", |left: &Value, right: &Value| {
        let (in_left, in_right) = (set_of(left)?, set_of(right)?);
        let one = items_of(left)?.into_iter();
        let one = one.filter(|one| !in_right.contains(one));
        let other = items_of(right)?.into_iter();
        let other = other.filter(|one| !in_left.contains(one));
        Ok::<Value, Error>(Value::from(distinct(one.chain(other))))
    });
    environment.add_filter("union", |left: &Value, right: &Value| {
        let both = items_of(left)?.into_iter().chain(items_of(right)?);
        Ok::<Value, Error>(Value::from(distinct(both)))
    });
    environment.add_filter("zip_longest", zip_longest);
    environment.add_filter("product", product);
    environment.add_filter("subelements", subelements);
    environment.add_filter("ternary", ternary);
    environment.add_filter("mandatory", mandatory);
    environment.add_filter("type_debug", type_debug);
    environment.add_filter("path_join", path_join);
}

/// Returns the values in order, without duplicates.
fn distinct(values: impl Iterator<Item = Value>) -> Vec<Value> {
    let mut seen = HashSet::new();
    values.filter(|value| seen.insert(value.clone())).collect()
}

/// Merges dictionaries; later ones win, and nested ones are merged on request.
fn combine(state: &State, first: &Value, given: Given) -> Result<Value, Error> {
    let (others, flags) = separate(given);
    for value in std::iter::once(first).chain(&others) {
        ensure_held(state, value)?;
    }
    let flags = Arguments::of(flags, ["recursive", "list_merge"])?;
    let merge = Merge {
        recursive: flags.flag(0),
        lists: ListMerge::named(&flags.text(1, "replace")?)?,
    };
    let mut dictionaries = Vec::new();
    for value in std::iter::once(first).chain(&others) {
        if is_list(value) {
            dictionaries.extend(value.try_iter()?);
        } else {
            dictionaries.push(value.clone());
        }
    }
    let mut dictionaries = dictionaries.into_iter();
    let mut combined = dictionaries
        .next()
        .unwrap_or_else(|| Value::from_pairs([] as [(Value, Value); 0]));
    pairs_of(&combined)?;
    for dictionary in dictionaries {
        combined = merge.dictionaries(&combined, &dictionary, MAX_DEPTH)?;
    }
    Ok(combined)
}

struct Merge {
    recursive: bool,
    lists: ListMerge,
}

#[derive(Clone, Copy)]
enum ListMerge {
    Replace,
    Keep,
    Append,
    Prepend,
    AppendNew,
    PrependNew,
}

impl ListMerge {
    fn named(name: &str) -> Result<ListMerge, Error> {
        Ok(match name {
            "replace" => ListMerge::Replace,
            "keep" => ListMerge::Keep,
            "append" => ListMerge::Append,
            "prepend" => ListMerge::Prepend,
            "append_rp" => ListMerge::AppendNew,
            "prepend_rp" => ListMerge::PrependNew,
            other => {
                return Err(error(format!(
                    "`list_merge` must be replace, keep, append, prepend, append_rp or prepend_rp, not `{other}`"
                )));
            }
        })
    }

    /// Combines two lists. The `_rp` modes remove the later one's items from the earlier one.
    fn apply(self, earlier: &Value, later: &Value) -> Result<Value, Error> {
        let (mut left, mut right) = (items_of(earlier)?, items_of(later)?);
        if matches!(self, ListMerge::AppendNew | ListMerge::PrependNew) {
            let later: HashSet<&Value> = right.iter().collect();
            left.retain(|one| !later.contains(one));
        }
        Ok(match self {
            ListMerge::Replace => later.clone(),
            ListMerge::Keep => earlier.clone(),
            ListMerge::Append | ListMerge::AppendNew => {
                left.append(&mut right);
                Value::from(left)
            }
            ListMerge::Prepend | ListMerge::PrependNew => {
                right.append(&mut left);
                Value::from(right)
            }
        })
    }
}

impl Merge {
    fn dictionaries(&self, earlier: &Value, later: &Value, depth: usize) -> Result<Value, Error> {
        let depth = depth
            .checked_sub(1)
            .ok_or_else(|| error("the dictionaries are nested too deeply"))?;
        let mut pairs = pairs_of(earlier)?;
        for (key, value) in pairs_of(later)? {
            let Some((_, known)) = pairs.iter_mut().find(|(known, _)| *known == key) else {
                pairs.push((key, value));
                continue;
            };
            let kinds = (known.kind(), value.kind());
            *known = if self.recursive && kinds == (ValueKind::Map, ValueKind::Map) {
                self.dictionaries(known, &value, depth)?
            } else if is_list(known) && is_list(&value) {
                self.lists.apply(known, &value)?
            } else {
                value
            };
        }
        Ok(Value::from_pairs(pairs))
    }
}

fn dict2items(value: &Value, given: Given) -> Result<Value, Error> {
    let given = Arguments::new(given, ["key_name", "value_name"])?;
    let (key_name, value_name) = (given.text(0, "key")?, given.text(1, "value")?);
    let item =
        |(key, value)| Value::from_pairs([(key_name.as_str(), key), (value_name.as_str(), value)]);
    Ok(pairs_of(value)?.into_iter().map(item).collect())
}

fn items2dict(value: &Value, given: Given) -> Result<Value, Error> {
    let given = Arguments::new(given, ["key_name", "value_name"])?;
    let (key_name, value_name) = (given.text(0, "key")?, given.text(1, "value")?);
    let mut pairs = Vec::new();
    for item in items_of(value)? {
        let part = |name: &str| {
            let part = item.get_attr(name).unwrap_or_default();
            let missing = || error(format!("an item has no `{name}`"));
            (!part.is_undefined()).then_some(part).ok_or_else(missing)
        };
        pairs.push((part(&key_name)?, part(&value_name)?));
    }
    Ok(Value::from_pairs(pairs))
}

/// Returns the value of a key in a container; further keys look inside that value.
fn extract(key: &Value, container: &Value, more: Option<Value>) -> Result<Value, Error> {
    let mut value = container.get_item(key)?;
    let more = match more {
        None => Vec::new(),
        Some(more) if is_list(&more) => more.try_iter()?.collect(),
        Some(more) => vec![more],
    };
    for key in more {
        value = value.get_item(&key)?;
    }
    Ok(value)
}

fn flatten(
    values: &Value,
    levels: Option<usize>,
    skip_nulls: bool,
    depth: usize,
    out: &mut Vec<Value>,
) -> Result<(), Error> {
    let depth = depth
        .checked_sub(1)
        .ok_or_else(|| error("the lists are nested too deeply"))?;
    for value in items_of(values)? {
        let is_null = value.is_none() || matches!(value.as_str(), Some("None" | "null"));
        if skip_nulls && is_null {
            continue;
        }
        if is_list(&value) && levels != Some(0) {
            let levels = levels.map(|levels| levels - 1);
            flatten(&value, levels, skip_nulls, depth, out)?;
        } else {
            out.push(value);
        }
    }
    Ok(())
}

fn zip_longest(value: &Value, given: Given) -> Result<Value, Error> {
    let (others, flags) = separate(given);
    let flags = Arguments::of(flags, ["fillvalue"])?;
    let fill = flags.get(0).cloned().unwrap_or_else(|| Value::from(()));
    let mut lists = vec![items_of(value)?];
    for other in &others {
        lists.push(items_of(other)?);
    }
    let longest = lists.iter().map(Vec::len).max().unwrap_or(0);
    let row = |at: usize| -> Value {
        let cell = |list: &Vec<Value>| list.get(at).cloned().unwrap_or_else(|| fill.clone());
        lists.iter().map(cell).collect()
    };
    Ok((0..longest).map(row).collect())
}

/// Returns all combinations of one item from each list.
fn product(state: &State, value: &Value, given: Given) -> Result<Value, Error> {
    let (others, flags) = separate(given);
    let repeat = Arguments::of(flags, ["repeat"])?.size(0, 1)?;
    let mut lists = vec![items_of(value)?];
    for other in &others {
        lists.push(items_of(other)?);
    }
    let count = lists
        .iter()
        .map(Vec::len)
        .fold(1_usize, usize::saturating_mul);
    let repeats = u32::try_from(repeat).unwrap_or(u32::MAX);
    let slots = count
        .saturating_pow(repeats)
        .saturating_mul(lists.len().saturating_mul(repeat));
    ensure_bytes(state, slots.saturating_mul(SLOT))?;
    let rounds = if count == 0 { 1 } else { repeat };
    let mut rows: Vec<Vec<Value>> = vec![Vec::new()];
    for list in std::iter::repeat_n(&lists, rounds).flatten() {
        let longer = |row: &Vec<Value>| {
            let row = row.clone();
            list.clone().into_iter().map(move |item| {
                let mut row = row.clone();
                row.push(item);
                row
            })
        };
        rows = rows.iter().flat_map(longer).collect();
    }
    Ok(rows.into_iter().map(Value::from).collect())
}

/// Pairs each element with each item of a list inside it.
fn subelements(state: &State, value: &Value, given: Given) -> Result<Value, Error> {
    let given = Arguments::new(given, ["subelements", "skip_missing"])?;
    let path = given
        .get(0)
        .ok_or_else(|| error("`subelements` needs the key of the list"))?;
    let path: Vec<Value> = match path.as_str() {
        Some(path) => path.split('.').map(Value::from).collect(),
        None => items_of(path)?,
    };
    let elements = match value.kind() {
        ValueKind::Map => pairs_of(value)?
            .into_iter()
            .map(|(_, value)| value)
            .collect(),
        _ => items_of(value)?,
    };
    let mut out = Vec::new();
    for element in elements {
        let mut found = element.clone();
        for key in &path {
            if !found.is_undefined() {
                found = found.get_item(key)?;
            }
        }
        if found.is_undefined() && given.flag(1) {
            continue;
        }
        if !is_list(&found) {
            let kind = described(found.kind());
            return Err(error(format!("a subelement must be a list, not {kind}")));
        }
        for item in found.try_iter()? {
            out.push(Value::from(vec![element.clone(), item]));
            ensure_bytes(state, out.len() * 2 * SLOT)?;
        }
    }
    Ok(Value::from(out))
}

fn ternary(value: &Value, given: Given) -> Result<Value, Error> {
    let given = Arguments::new(given, ["true_val", "false_val", "none_val"])?;
    let none = given.get(2).filter(|none| !none.is_none());
    let (Some(true_value), Some(false_value)) = (given.get(0), given.get(1)) else {
        return Err(error("`ternary` needs a value for true and one for false"));
    };
    Ok(match none {
        Some(none) if value.is_none() => none.clone(),
        _ if value.is_true() => true_value.clone(),
        _ => false_value.clone(),
    })
}

/// Returns the value, or an error if it is undefined.
fn mandatory(value: &Value, given: Given) -> Result<Value, Error> {
    let given = Arguments::new(given, ["msg"])?;
    if value.is_undefined() {
        return Err(error(given.text(0, "a mandatory value is not defined")?));
    }
    Ok(value.clone())
}

/// Returns the name of the value's type in Python.
fn type_debug(value: &Value) -> &'static str {
    match value.kind() {
        ValueKind::Undefined => "Undefined",
        ValueKind::None => "NoneType",
        ValueKind::Bool => "bool",
        ValueKind::Number if value.is_integer() => "int",
        ValueKind::Number => "float",
        ValueKind::Bytes => "bytes",
        ValueKind::Seq if value.is_tuple() => "tuple",
        ValueKind::Seq | ValueKind::Iterable => "list",
        ValueKind::Map => "dict",
        _ => "str",
    }
}

/// Joins the parts of a path; an absolute part starts over.
fn path_join(value: &Value) -> Result<String, Error> {
    if let Some(path) = value.as_str() {
        return Ok(path.to_owned());
    }
    let mut path = String::new();
    for part in items_of(value)? {
        let part = text_of(&part)?;
        if part.starts_with('/') {
            path.clear();
        } else if !path.is_empty() && !path.ends_with('/') {
            path.push('/');
        }
        path.push_str(&part);
    }
    Ok(path)
}
