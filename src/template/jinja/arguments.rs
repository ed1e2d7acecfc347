//! Arguments of filters and tests, by position or by name, as in Python.

use minijinja::Error;
use minijinja::value::{Kwargs, Rest, Value, ValueOrKwargs};

use super::{error, text_of};

/// Arguments of a call as passed by the engine.
pub type Given = Rest<ValueOrKwargs>;

/// Separates positional from named arguments.
pub fn separate(given: Given) -> (Vec<Value>, Vec<Value>) {
    given
        .into_values()
        .into_iter()
        .partition(|value| !value.is_kwargs())
}

/// Arguments of one call, in the order of the parameters.
pub struct Arguments<const N: usize>([Option<Value>; N]);

impl<const N: usize> Arguments<N> {
    /// Assigns the arguments of a call to the parameters. Fails for unknown or surplus arguments.
    pub fn new(given: Given, names: [&str; N]) -> Result<Arguments<N>, Error> {
        Arguments::of(given.into_values(), names)
    }

    /// Does the same for a list of values.
    pub fn of(given: Vec<Value>, names: [&str; N]) -> Result<Arguments<N>, Error> {
        let mut sorted = [const { None }; N];
        for (position, value) in given.into_iter().enumerate() {
            if !value.is_kwargs() {
                let place = sorted
                    .get_mut(position)
                    .ok_or_else(|| error(format!("takes at most {N} arguments")))?;
                *place = Some(value);
                continue;
            }
            let named = Kwargs::try_from(value)?;
            for name in named.args() {
                let place = names.iter().position(|known| *known == name);
                let place = place.ok_or_else(|| error(format!("has no argument `{name}`")))?;
                sorted[place] = Some(named.peek(name)?);
            }
        }
        Ok(Arguments(sorted))
    }

    /// Returns an optional argument.
    pub fn get(&self, index: usize) -> Option<&Value> {
        self.0[index].as_ref()
    }

    /// Returns a text argument, or `default` if it is omitted.
    pub fn text(&self, index: usize, default: &str) -> Result<String, Error> {
        self.get(index)
            .map_or_else(|| Ok(default.to_owned()), text_of)
    }

    /// Returns a boolean argument; false if it is omitted.
    pub fn flag(&self, index: usize) -> bool {
        self.get(index).is_some_and(Value::is_true)
    }

    /// Returns a non-negative number.
    pub fn size(&self, index: usize, default: usize) -> Result<usize, Error> {
        let Some(value) = self.get(index) else {
            return Ok(default);
        };
        let whole = value.as_usize();
        whole.ok_or_else(|| error(format!("expected a number, not `{value}`")))
    }
}
