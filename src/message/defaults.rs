//! Default templates of `subject` and `message`, and the lines of a message about several events that were held.

use std::sync::{Arc, LazyLock};

use crate::config::section::Section;
use crate::event::{Event, Status};
use crate::system::clock;
use crate::template::Template;
use crate::template::context::Context;
use crate::text::{Escape, characters, cut, one_line};

/// Maximum number of events that such a message lists.
const SHOWN: usize = 20;
/// Length limit of the reason in a line, in characters.
const REASON: usize = 200;

/// Default of `subject`.
const SUBJECT_SOURCE: &str = "\
{%- if held and held.count > 1 %}{{ held.count }} events were held, {{ held.failed or 'none' }} failed
{%- elif status == 'running' %}{{ run_name }} started
{%- elif recovered %}{{ run_name }} recovered
{%- elif status == 'success' %}{{ run_name }} succeeded
{%- elif status == 'error' %}{{ run_name }} failed
{%- elif status == 'canceled' %}{{ run_name }} was canceled
{%- elif callback == 'run_overdue' %}{{ run_name }} is overdue
{%- elif callback == 'run_stalled' %}{{ run_name }} has stalled
{%- elif callback == 'run_missing' %}{{ run_name }} has not run
{%- elif callback == 'task_slow' %}{{ run_name }}: {{ task_name }} is slow
{%- elif hosts | length > 1 %}{{ task_name }}: {{ events | length }} results on {{ hosts | length }} hosts, {{ state }}
{%- elif state == 'unreachable' %}{{ host }} is unreachable
{%- elif state == 'success' %}{{ host }}: {{ task_name }}: {{ 'changed' if changed else 'ok' }}
{%- elif state %}{{ host }}: {{ task_name }}: {{ state }}{{ ', ignored' if ignored }}
{%- else %}{{ run_name }}: {{ task_name or play_name or callback | regex_replace('^(playbook|runner)_on_', '') | replace('_', ' ') }}
{%- endif %}
{%- if check and not (held and held.count > 1) %} (check mode){% endif %}";

/// Default of `message`.
const MESSAGE_SOURCE: &str = "\
{%- if held and held.count > 1 %}
{%- for line in held.lines %}
{{- line }}
{% endfor %}
{%- if held.count > held.lines | length %}and {{ held.count - held.lines | length }} more
{% endif %}
{%- elif status == 'running' %}{{ user }} on {{ controller }}
{%- elif status %}
{%- for failed in failed_tasks[:10] %}
{{- failed.host }}: {{ failed.task }}{% if failed.path %} ({{ failed.path }}){% endif %}: {{ failed.message | truncate(length=300, leeway=0) }}
{% endfor %}
{%- if failures > 10 %}and {{ failures - 10 }} more
{% endif %}
{%- if stats %}{{ stats | length }} host{{ '' if stats | length == 1 else 's' }}, {% endif %}
{%- if stats or failures or changed_hosts %}{{ changed_hosts | length }} changed, {{ failures }} failed, in {% else %}after {% endif %}
{{- elapsed | round(1) }} s
{%- if reason and not failed_tasks %}
{{ reason | truncate(length=1000, leeway=0) }}
{%- endif %}
{%- if overdue or stalls or slow_tasks %}
took too long:{% if overdue %} overdue{% endif %}
{%- if stalls %}{{ ',' if overdue }} stalled {{ 'once' if stalls | length == 1 else stalls | length ~ ' times' }}
{%- if stalls[0].task %} in {{ stalls[0].task }}{% endif %}{% endif %}
{%- if slow_tasks %}{{ ',' if overdue or stalls }} slow: {{ slow_tasks[:3] | map(attribute='task') | join(', ') }}
{%- if slow_tasks | length > 3 %} and {{ slow_tasks | length - 3 }} more{% endif %}{% endif %}
{%- endif %}
{%- if still_failing and status == 'success' %}
still failing from earlier runs: {{ still_failing[:10] | join(', ') }}{% if still_failing | length > 10 %} and {{ still_failing | length - 10 }} more{% endif %}
{%- endif %}
{%- elif waiting_for is defined %}{{ (reason or '') | truncate(length=1000, leeway=0) }}
{%- if task_path %}
{{ task_path }}
{%- endif %}
{%- elif hosts | length > 1 %}{{ hosts[:10] | join(', ') }}{% if hosts | length > 10 %} and {{ hosts | length - 10 }} more{% endif %}
{{ (reason or '') | truncate(length=1000, leeway=0) }}
{%- elif state %}{{ (reason or '') | truncate(length=1500, leeway=0) }}
{%- if task_path and state == 'failed' %}
{{ task_path }}
{%- endif %}
{%- endif %}
{%- if held_back %}
{{ held_back }} earlier failure{{ '' if held_back == 1 else 's' }} of the same kind {{ 'was' if held_back == 1 else 'were' }} held back
{%- endif %}";

/// Default of `subject`, compiled.
pub static SUBJECT: LazyLock<Template> = LazyLock::new(|| {
    Template::text(SUBJECT_SOURCE, Escape::Plain).expect("the default is a template")
});

/// Default message in each markup, and then an empty one.
static MESSAGES: LazyLock<Vec<Template>> = LazyLock::new(|| {
    let template =
        |(escape, text)| Template::text(text, escape).expect("the default is a template");
    let defaults = Escape::ALL
        .map(|escape| (escape, MESSAGE_SOURCE))
        .into_iter();
    defaults
        .chain([(Escape::Plain, "")])
        .map(template)
        .collect()
});

/// Returns the default of `message`: empty if the key is empty.
pub fn message(section: &Section, escape: Escape) -> &'static Template {
    let is_meant = |one: &Escape| *one == escape && !section.is_blank("message");
    let position = Escape::ALL.iter().position(is_meant);
    &MESSAGES[position.unwrap_or(Escape::ALL.len())]
}

/// Returns the context with a line about each listed event, if it is about several held events.
pub fn with_lines(context: Context) -> Context {
    match context.is_digest() {
        true => {
            let lines = shown(&context).map(line).collect();
            context.with_lines(lines)
        }
        false => context,
    }
}

/// Returns the events that a message about several lists, in the order in which they happened: all of them, or
/// failures first.
pub fn shown(context: &Context) -> impl Iterator<Item = &Arc<Event>> {
    // Events of different hosts are not ordered.
    let mut events: Vec<_> = context.events().collect();
    events.sort_by_key(|event| event.time);
    let failed = context.events().filter(|event| event.is_bad()).count();
    let mut failed = failed.min(SHOWN);
    let mut others = SHOWN - failed;
    events.into_iter().filter(move |event| {
        let left = match event.is_bad() {
            true => &mut failed,
            false => &mut others,
        };
        let is_shown = *left > 0;
        *left -= usize::from(is_shown);
        is_shown
    })
}

/// Returns a line about an event: its time, its subject, and the reason of a failure.
fn line(event: &Arc<Event>) -> String {
    let time = clock::local_time(event.time);
    let subject = SUBJECT.render(&Context::new(event.clone()));
    let subject = subject.unwrap_or_default();
    let is_canceled = event.status() == Some(Status::Canceled);
    let is_ill = event.is_bad() || is_canceled || event.event.is_alert();
    let reason = is_ill.then(|| event.reason()).flatten();
    let reason = reason.map(|reason| one_line(&reason));
    match reason.filter(|reason| !reason.is_empty()) {
        Some(reason) => format!("{time} {subject}: {}", cut(&reason, REASON, characters)),
        None => format!("{time} {subject}"),
    }
}
