//! `json_query`: JMESPath over a value, as in `community.general`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jmespath::ast::Ast;
use jmespath::{Context, JmespathError, Rcvar, Runtime, Variable, interpret};
use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, State};

use super::{error, items_of, pairs_of, text_of};
use crate::template::context::from_json;
use crate::template::limits::{ensure_bytes, weigh};

/// Longest expression: its parser recurses once per bracket.
const MAX_LENGTH: usize = 1000;
/// The key that serde_json uses for a number whose digits are kept (`arbitrary_precision`).
const NUMBER: &str = "$serde_json::private::Number";

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut runtime = Runtime::new();
    runtime.register_builtin_functions();
    runtime
});

/// Adds `json_query`.
pub fn add_to(environment: &mut Environment) {
    environment.add_filter("json_query", json_query);
}

fn json_query(state: &State, value: &Value, source: &str) -> Result<Value, Error> {
    if source.len() > MAX_LENGTH {
        return Err(error(format!(
            "a query can have at most {MAX_LENGTH} bytes"
        )));
    }
    // The query holds the data as values of its own type, besides the original.
    ensure_bytes(state, weigh(value)?.saturating_mul(8))?;
    let mut syntax = jmespath::parse(source).map_err(|reason| failed(&reason))?;
    mend(&mut syntax);
    let data = Rcvar::new(variable(value)?);
    let found = interpret(&data, &syntax, &mut Context::new(source, &RUNTIME))
        .map_err(|reason| failed(&reason))?;
    let found = serde_json::to_value(&*found).map_err(|reason| error(reason.to_string()))?;
    Ok(from_json(found))
}

fn failed(reason: &JmespathError) -> Error {
    let reason = reason.to_string();
    error(format!(
        "the query: {}",
        reason.lines().next().unwrap_or_default()
    ))
}

/// Converts a value for the query.
fn variable(value: &Value) -> Result<Variable, Error> {
    Ok(match value.kind() {
        ValueKind::Undefined | ValueKind::None => Variable::Null,
        ValueKind::Bool => Variable::Bool(value.is_true()),
        ValueKind::Number => serde_json::to_value(value)
            .ok()
            .and_then(|number| number.as_number().cloned())
            .map_or(Variable::Null, Variable::Number),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = items_of(value)?;
            let items = items.iter().map(|item| variable(item).map(Rcvar::new));
            Variable::Array(items.collect::<Result<_, _>>()?)
        }
        ValueKind::Map => {
            let mut members = BTreeMap::new();
            for (key, value) in pairs_of(value)? {
                members.insert(text_of(&key)?, Rcvar::new(variable(&value)?));
            }
            Variable::Object(members)
        }
        _ => Variable::String(text_of(value)?),
    })
}

/// Restores number literals that the parser took for objects.
fn mend(syntax: &mut Ast) {
    match syntax {
        Ast::Literal { value, .. } => *value = mended(value),
        Ast::Comparison { lhs, rhs, .. }
        | Ast::Projection { lhs, rhs, .. }
        | Ast::And { lhs, rhs, .. }
        | Ast::Or { lhs, rhs, .. }
        | Ast::Subexpr { lhs, rhs, .. } => {
            mend(lhs);
            mend(rhs);
        }
        Ast::Condition {
            predicate, then, ..
        } => {
            mend(predicate);
            mend(then);
        }
        Ast::Expref { ast: node, .. }
        | Ast::Flatten { node, .. }
        | Ast::Not { node, .. }
        | Ast::ObjectValues { node, .. } => mend(node),
        Ast::Function { args, .. } => args.iter_mut().for_each(mend),
        Ast::MultiList { elements, .. } => elements.iter_mut().for_each(mend),
        Ast::MultiHash { elements, .. } => {
            elements.iter_mut().for_each(|pair| mend(&mut pair.value));
        }
        Ast::Identity { .. } | Ast::Field { .. } | Ast::Index { .. } | Ast::Slice { .. } => {}
    }
}

fn mended(value: &Rcvar) -> Rcvar {
    Rcvar::new(match &**value {
        Variable::Object(members) => {
            let digits = members.get(NUMBER).and_then(|digits| digits.as_string());
            match digits.and_then(|digits| digits.parse().ok()) {
                Some(number) => Variable::Number(number),
                None => {
                    let mended = |(key, value): (&String, &Rcvar)| (key.clone(), mended(value));
                    Variable::Object(members.iter().map(mended).collect())
                }
            }
        }
        Variable::Array(items) => Variable::Array(items.iter().map(mended).collect()),
        other => other.clone(),
    })
}
