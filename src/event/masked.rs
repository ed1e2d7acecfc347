//! An event with everything masked that the configuration names, before it is stored or shown.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::event::callback::Callback;
use crate::event::mask::Mask;
use crate::event::{Event, FailedTask, Host, Play, Run, RunEnd, Task};
use crate::json::lookup;
use crate::secret::MASK;

/// Number of parts remembered of each type; larger than the number of tasks that run at once.
const REMEMBERED: usize = 16;

/// Shared parts of many events, each with its masked form.
type Known<T> = RefCell<Vec<(Arc<T>, Arc<T>)>>;

/// Masks events. The parts that events share are masked once, and stay shared.
#[derive(Debug, Default)]
pub struct Masks {
    mask: Mask,
    runs: Known<Run>,
    plays: Known<Play>,
    tasks: Known<Task>,
    vars: Known<Map<String, Value>>,
}

impl Masks {
    /// Creates a masker with `mask`.
    pub fn new(mask: Mask) -> Masks {
        Masks {
            mask,
            ..Masks::default()
        }
    }

    /// Masks an event. Ids and host names stay: everything else about a run refers to them.
    pub fn apply(&self, event: &mut Event) {
        let Event {
            schema: _,
            id: _,
            event: callback,
            time: _,
            state: _,
            changed: _,
            ignored: _,
            item,
            duration: _,
            run,
            play,
            task,
            vars,
            host,
            labels,
            url,
            result,
            loop_reason,
            truncated: _,
            repaired: _,
            test: _,
            end,
            // It contains times and host names.
            alert: _,
            held: _,
            held_back: _,
            record,
        } = event;
        if let Some(value) = item {
            self.item(value, result.as_deref());
        }
        *run = self.run(run);
        if let Some(play) = play {
            *play = shared(&self.plays, play, |play| self.play(play));
        }
        if let Some(task) = task {
            *task = shared(&self.tasks, task, |task| self.task(task));
        }
        if let Some(vars) = vars {
            *vars = self.vars(vars);
        }
        if let Some(host) = host {
            self.host(host);
        }
        if let Some(labels) = labels {
            self.members(labels);
        }
        self.option(url);
        if !(*callback == Callback::PlaybookOnStats && is_counts(result.as_deref())) {
            self.raw(result);
        }
        self.raw(record);
        self.option(loop_reason);
        if let Some(end) = end {
            self.end(end);
        }
    }

    /// Returns a run with its texts masked.
    pub fn run(&self, run: &Arc<Run>) -> Arc<Run> {
        shared(&self.runs, run, |run| {
            let Run {
                id: _,
                playbook,
                path,
                check: _,
                user,
                controller,
                ansible_version: _,
                limit,
                tags,
                skip_tags,
                start_at_task,
                module: _,
                pattern,
                inventory,
                playbooks,
                url,
                ident: _,
                title,
                wrapped,
                traceparent: _,
            } = run;
            let texts = [
                playbook,
                path,
                user,
                controller,
                limit,
                start_at_task,
                pattern,
                url,
                title,
            ];
            let one = texts.into_iter().map(|text| self.option(text));
            let one = one.fold(false, |one, other| one | other);
            let lists = [tags, skip_tags, inventory, playbooks];
            let many = lists.into_iter().flatten().map(|text| self.words(text));
            let key = wrapped.as_mut().map(|wrapped| &mut wrapped.key);
            let key = key.is_some_and(|key| self.words(key));
            many.fold(one | key, |one, other| one | other)
        })
    }

    fn play(&self, play: &mut Play) -> bool {
        let Play { id: _, name } = play;
        self.words(name)
    }

    fn task(&self, task: &mut Task) -> bool {
        let Task {
            id: _,
            name,
            action: _,
            path,
            role,
            tags,
            handler: _,
        } = task;
        let texts = path.iter_mut().chain(role).chain(tags).chain([name]);
        let changed = texts.map(|text| self.words(text));
        changed.fold(false, |one, other| one | other)
    }

    fn host(&self, host: &mut Host) {
        let Host {
            name: _,
            address,
            delegated_to: _,
            vars,
            groups: _,
        } = host;
        self.option(address);
        if let Some(vars) = vars {
            *vars = self.vars(vars);
        }
    }

    fn vars(&self, vars: &Arc<Map<String, Value>>) -> Arc<Map<String, Value>> {
        shared(&self.vars, vars, |vars| self.members(vars))
    }

    /// Masks the values of an object, and returns true if that changed it.
    fn members(&self, members: &mut Map<String, Value>) -> bool {
        let text = serde_json::to_string(members).unwrap_or_default();
        let Some(masked) = self.mask.json(&text) else {
            return false;
        };
        // A parsed value can be parsed again.
        *members = serde_json::from_str(&masked).unwrap_or_default();
        true
    }

    /// Masks the end of a run.
    pub fn end(&self, end: &mut Arc<RunEnd>) {
        let RunEnd {
            status: _,
            exit_code: _,
            signal: _,
            reason,
            elapsed: _,
            stats: _,
            previous: _,
            still_failing: _,
            failed_tasks,
            failures: _,
            changed_hosts: _,
            plays,
            custom_stats,
            custom_stats_per_host,
            delays,
            output,
        } = Arc::make_mut(end);
        self.option(reason);
        self.option(output);
        for delay in delays.stalls.iter_mut().chain(&mut delays.slow_tasks) {
            self.words(&mut delay.task);
        }
        for play in plays {
            self.words(&mut play.name);
        }
        self.members(custom_stats);
        self.members(custom_stats_per_host);
        for failed in failed_tasks {
            let FailedTask {
                host: _,
                task,
                action: _,
                path,
                role,
                play,
                unreachable: _,
                message,
            } = failed;
            for text in [path, role, play]
                .into_iter()
                .flatten()
                .chain([task, message])
            {
                self.words(text);
            }
        }
    }

    /// Masks the item of a loop, which the result holds under the name of the loop's variable.
    fn item(&self, item: &mut Value, result: Option<&RawValue>) {
        let variable = result.and_then(|result| lookup::member(result.get(), "ansible_loop_var"));
        let variable: Option<String> =
            variable.and_then(|name| serde_json::from_str(name.get()).ok());
        if self.mask.hides_item(variable.as_deref()) {
            *item = Value::from(MASK);
        } else if let Some(masked) = self.mask.json(&item.to_string()) {
            // A parsed value can be parsed again.
            *item = serde_json::from_str(&masked).unwrap_or_default();
        }
    }

    fn raw(&self, value: &mut Option<Box<RawValue>>) {
        let masked = value.as_ref().and_then(|raw| self.mask.json(raw.get()));
        if let Some(masked) = masked {
            *value = RawValue::from_string(masked).ok();
        }
    }

    /// Masks a text, and returns true if that changed it.
    fn words(&self, text: &mut String) -> bool {
        let masked = self.mask.text(text);
        let changes = masked.is_some();
        *text = masked.unwrap_or_else(|| std::mem::take(text));
        changes
    }

    fn option(&self, text: &mut Option<String>) -> bool {
        text.as_mut().is_some_and(|text| self.words(text))
    }
}

/// Returns true if a result has only the counts of each host, from which the end of the run is derived.
fn is_counts(result: Option<&RawValue>) -> bool {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Counts {
        #[serde(rename = "stats")]
        _stats: HashMap<String, HashMap<String, u64>>,
    }
    result.is_some_and(|result| serde_json::from_str::<Counts>(result.get()).is_ok())
}

/// Returns the masked form of a shared part: the same object each time, or the part itself if nothing in it is
/// masked.
fn shared<T: Clone>(known: &Known<T>, part: &Arc<T>, mask: impl FnOnce(&mut T) -> bool) -> Arc<T> {
    let mut known = known.borrow_mut();
    let is_known =
        |(one, other): &&(Arc<T>, Arc<T>)| Arc::ptr_eq(one, part) || Arc::ptr_eq(other, part);
    if let Some((_, masked)) = known.iter().find(is_known) {
        return masked.clone();
    }
    let mut copy = T::clone(part);
    let masked = match mask(&mut copy) {
        true => Arc::new(copy),
        false => part.clone(),
    };
    if known.len() == REMEMBERED {
        known.remove(0);
    }
    known.push((part.clone(), masked.clone()));
    masked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::mask::pattern;

    #[test]
    fn shared_parts_are_masked_once_and_stay_shared() {
        let masks = Masks::new(Mask::new(&[], vec![pattern("canary").unwrap()]));
        let run = Arc::new(Run {
            path: Some("/canary/site.yml".into()),
            ..Run::default()
        });
        let mut events = [1, 2].map(|number| Event::new(Callback::RunnerOnOk, run.clone(), number));
        events.iter_mut().for_each(|event| masks.apply(event));
        assert_eq!(events[0].run.path.as_deref(), Some("/[redacted]/site.yml"));
        assert!(Arc::ptr_eq(&events[0].run, &events[1].run));
        let masked = events[0].run.clone();
        masks.apply(&mut events[0]);
        assert!(Arc::ptr_eq(&masked, &events[0].run));
        for number in 0..100 {
            let play = Play {
                id: String::new(),
                name: format!("canary {number}"),
            };
            events[0].play = Some(Arc::new(play));
            masks.apply(&mut events[0]);
        }
        assert_eq!(masks.plays.borrow().len(), REMEMBERED);
    }
}
