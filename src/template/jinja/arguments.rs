//! Arguments of filters and tests, by position or by name as Python has them.

use minijinja::Error;
use minijinja::value::{Kwargs, Rest, Value, ValueOrKwargs};

use super::{error, text_of};

/// The arguments of a call as the engine passes them.
pub type Given = Rest<ValueOrKwargs>;

/// The arguments by position, and those by name.
pub fn separate(given: Given) -> (Vec<Value>, Vec<Value>) {
    given
        .into_values()
        .into_iter()
        .partition(|value| !value.is_kwargs())
}

/// The arguments of one call, in the order of the parameters' names.
pub struct Arguments<const N: usize>([Option<Value>; N]);

impl<const N: usize> Arguments<N> {
    /// Sorts the arguments of a call to the names of the parameters. Fails for those that there are not.
    pub fn new(given: Given, names: [&str; N]) -> Result<Arguments<N>, Error> {
        Arguments::of(given.into_values(), names)
    }

    /// The same of values.
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

    /// An argument that may be left out.
    pub fn get(&self, index: usize) -> Option<&Value> {
        self.0[index].as_ref()
    }

    /// A text, with what it is where it is left out.
    pub fn text(&self, index: usize, default: &str) -> Result<String, Error> {
        self.get(index)
            .map_or_else(|| Ok(default.to_owned()), text_of)
    }

    /// True or false; false where it is left out.
    pub fn flag(&self, index: usize) -> bool {
        self.get(index).is_some_and(Value::is_true)
    }

    /// A number that is not negative.
    pub fn size(&self, index: usize, default: usize) -> Result<usize, Error> {
        let Some(value) = self.get(index) else {
            return Ok(default);
        };
        let whole = value.as_usize();
        whole.ok_or_else(|| error(format!("expected a number, not `{value}`")))
    }
}
