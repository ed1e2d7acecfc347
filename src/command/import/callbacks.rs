//! The notification callbacks of community.general, as notifiers.

use serde_json::Map;

use super::ansible_cfg::Settings;
use super::draft::{Draft, Names};
use super::fields::Fields;
use super::services;
use super::streams;
use crate::text::one_line;

/// A callback: its options, and its counterpart.
struct Callback {
    name: &'static str,
    options: &'static [Opt],
    fate: Fate,
}

/// An option, with its keys in `[callback_NAME]` and its environment variables.
struct Opt {
    name: &'static str,
    keys: &'static [&'static str],
    variables: &'static [&'static str],
}

impl Callback {
    /// Returns the section with its options.
    fn section(&self) -> String {
        // The successor of `loganalytics` shares its section.
        let name = self.name.trim_end_matches("_ingestion");
        format!("callback_{name}")
    }

    fn knows(&self, key: &str) -> bool {
        let mut known = self.options.iter().flat_map(|option| option.keys);
        known.any(|known| *known == key)
    }
}

enum Fate {
    /// A notifier of this kind, whose keys are written by the function.
    Notifier(&'static str, fn(&mut Draft, &Fields, &mut Names)),
    /// No counterpart, for this reason.
    Nothing(&'static str),
}

const fn opt(
    name: &'static str,
    keys: &'static [&'static str],
    variables: &'static [&'static str],
) -> Opt {
    Opt {
        name,
        keys,
        variables,
    }
}

/// Options of the callbacks of community.general, from their documentation.
const CALLBACKS: [Callback; 12] = [
    Callback {
        name: "slack",
        options: &[
            opt("webhook_url", &["webhook_url"], &["SLACK_WEBHOOK_URL"]),
            opt("channel", &["channel"], &["SLACK_CHANNEL"]),
            opt("username", &["username"], &["SLACK_USERNAME"]),
            opt(
                "validate_certs",
                &["validate_certs"],
                &["SLACK_VALIDATE_CERTS"],
            ),
            opt("http_agent", &["http_agent"], &[]),
        ],
        fate: Fate::Notifier("slack", services::slack),
    },
    Callback {
        name: "mail",
        options: &[
            opt("mta", &["smtphost"], &["SMTPHOST"]),
            opt("mtaport", &["smtpport"], &[]),
            opt("to", &["to"], &[]),
            opt("sender", &["sender"], &[]),
            opt("cc", &["cc"], &[]),
            opt("bcc", &["bcc"], &[]),
            opt("message_id_domain", &["message_id_domain"], &[]),
        ],
        fate: Fate::Notifier("email", services::mail),
    },
    Callback {
        name: "hipchat",
        options: &[
            opt("token", &["token"], &["HIPCHAT_TOKEN"]),
            opt("api_version", &["api_version"], &["HIPCHAT_API_VERSION"]),
            opt("room", &["room"], &["HIPCHAT_ROOM"]),
            opt("from", &["from"], &["HIPCHAT_FROM"]),
            opt("notify", &["notify"], &["HIPCHAT_NOTIFY"]),
        ],
        fate: Fate::Notifier("hipchat", services::hipchat),
    },
    Callback {
        name: "splunk",
        options: &[
            opt("url", &["url"], &["SPLUNK_URL"]),
            opt("authtoken", &["authtoken"], &["SPLUNK_AUTHTOKEN"]),
            opt(
                "validate_certs",
                &["validate_certs"],
                &["SPLUNK_VALIDATE_CERTS"],
            ),
            opt(
                "include_milliseconds",
                &["include_milliseconds"],
                &["SPLUNK_INCLUDE_MILLISECONDS"],
            ),
            opt("batch", &["batch"], &["SPLUNK_BATCH"]),
        ],
        fate: Fate::Notifier("splunk", services::splunk),
    },
    Callback {
        name: "nrdp",
        options: &[
            opt("url", &["url"], &["NRDP_URL"]),
            opt("token", &["token"], &["NRDP_TOKEN"]),
            opt("hostname", &["hostname"], &["NRDP_HOSTNAME"]),
            opt("servicename", &["servicename"], &["NRDP_SERVICENAME"]),
            opt(
                "validate_certs",
                &["validate_nrdp_certs", "validate_certs"],
                &["NRDP_VALIDATE_CERTS"],
            ),
        ],
        fate: Fate::Notifier("webhook", services::nrdp),
    },
    Callback {
        name: "logstash",
        options: &[
            opt("server", &["server"], &["LOGSTASH_SERVER"]),
            opt("port", &["port"], &["LOGSTASH_PORT"]),
            opt("type", &["type"], &["LOGSTASH_TYPE"]),
            opt("pre_command", &["pre_command"], &["LOGSTASH_PRE_COMMAND"]),
            opt(
                "format_version",
                &["format_version"],
                &["LOGSTASH_FORMAT_VERSION"],
            ),
        ],
        fate: Fate::Nothing(
            "it writes to a TCP port, which no kind does yet; Logstash's `http` input takes what a `webhook` sends",
        ),
    },
    Callback {
        name: "loganalytics",
        options: &[
            opt("workspace_id", &["workspace_id"], &["WORKSPACE_ID"]),
            opt("shared_key", &["shared_key"], &["WORKSPACE_SHARED_KEY"]),
        ],
        fate: Fate::Nothing("no kind signs requests with Azure's `SharedKey` yet"),
    },
    Callback {
        name: "loganalytics_ingestion",
        options: &[
            opt("dce_url", &["dce_url"], &["ANSIBLE_LOGANALYTICS_DCE_URL"]),
            opt("dcr_id", &["dcr_id"], &["ANSIBLE_LOGANALYTICS_DCR_ID"]),
            opt(
                "stream_name",
                &["stream_name"],
                &["ANSIBLE_LOGANALYTICS_STREAM_NAME"],
            ),
            opt(
                "tenant_id",
                &["tenant_id"],
                &["ANSIBLE_LOGANALYTICS_TENANT_ID"],
            ),
            opt(
                "client_id",
                &["client_id"],
                &["ANSIBLE_LOGANALYTICS_CLIENT_ID"],
            ),
            opt(
                "client_secret",
                &["client_secret"],
                &["ANSIBLE_LOGANALYTICS_CLIENT_SECRET"],
            ),
            opt(
                "include_content",
                &["include_content"],
                &["ANSIBLE_LOGANALYTICS_INCLUDE_CONTENT"],
            ),
            opt(
                "include_task_args",
                &["include_task_args"],
                &["ANSIBLE_LOGANALYTICS_INCLUDE_TASK_ARGS"],
            ),
            opt("timeout", &["timeout"], &["ANSIBLE_LOGANALYTICS_TIMEOUT"]),
            opt(
                "disable_on_failure",
                &["disable_on_failure"],
                &["ANSIBLE_LOGANALYTICS_DISABLE_ON_FAILURE"],
            ),
            opt(
                "disable_attempts",
                &["disable_attempts"],
                &["ANSIBLE_LOGANALYTICS_DISABLE_ATTEMPTS"],
            ),
        ],
        fate: Fate::Notifier("webhook", services::loganalytics_ingestion),
    },
    Callback {
        name: "elastic",
        options: &[
            opt(
                "hide_task_arguments",
                &[],
                &["ANSIBLE_OPENTELEMETRY_HIDE_TASK_ARGUMENTS"],
            ),
            opt("apm_service_name", &[], &["ELASTIC_APM_SERVICE_NAME"]),
            opt("apm_server_url", &[], &["ELASTIC_APM_SERVER_URL"]),
            opt("apm_secret_token", &[], &["ELASTIC_APM_SECRET_TOKEN"]),
            opt("apm_api_key", &[], &["ELASTIC_APM_API_KEY"]),
            opt(
                "apm_verify_server_cert",
                &[],
                &["ELASTIC_APM_VERIFY_SERVER_CERT"],
            ),
            opt("traceparent", &[], &["TRACEPARENT"]),
        ],
        fate: Fate::Notifier("otlp", streams::elastic),
    },
    Callback {
        name: "jabber",
        options: &[
            opt("server", &[], &["JABBER_SERV"]),
            opt("user", &[], &["JABBER_USER"]),
            opt("password", &[], &["JABBER_PASS"]),
            opt("to", &[], &["JABBER_TO"]),
        ],
        fate: Fate::Nothing("no kind speaks XMPP yet"),
    },
    Callback {
        name: "syslog_json",
        options: &[
            opt("server", &["syslog_server"], &["SYSLOG_SERVER"]),
            opt("port", &["syslog_port"], &["SYSLOG_PORT"]),
            opt("facility", &["syslog_facility"], &["SYSLOG_FACILITY"]),
            opt("setup", &["syslog_setup"], &["ANSIBLE_SYSLOG_SETUP"]),
        ],
        fate: Fate::Notifier("syslog", streams::syslog_json),
    },
    Callback {
        name: "opentelemetry",
        options: &[
            opt(
                "hide_task_arguments",
                &["hide_task_arguments"],
                &["ANSIBLE_OPENTELEMETRY_HIDE_TASK_ARGUMENTS"],
            ),
            opt(
                "enable_from_environment",
                &["enable_from_environment"],
                &["ANSIBLE_OPENTELEMETRY_ENABLE_FROM_ENVIRONMENT"],
            ),
            opt(
                "otel_service_name",
                &["otel_service_name"],
                &["OTEL_SERVICE_NAME"],
            ),
            opt("traceparent", &[], &["TRACEPARENT"]),
            opt(
                "disable_logs",
                &["disable_logs"],
                &["ANSIBLE_OPENTELEMETRY_DISABLE_LOGS"],
            ),
            opt(
                "disable_attributes_in_logs",
                &["disable_attributes_in_logs"],
                &["ANSIBLE_OPENTELEMETRY_DISABLE_ATTRIBUTES_IN_LOGS"],
            ),
            opt(
                "store_spans_in_file",
                &["store_spans_in_file"],
                &["ANSIBLE_OPENTELEMETRY_STORE_SPANS_IN_FILE"],
            ),
            opt(
                "otel_exporter_otlp_traces_protocol",
                &["otel_exporter_otlp_traces_protocol"],
                &["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"],
            ),
            opt("endpoint", &[], &["OTEL_EXPORTER_OTLP_ENDPOINT"]),
            opt("headers", &[], &["OTEL_EXPORTER_OTLP_HEADERS"]),
        ],
        fate: Fate::Notifier("otlp", streams::opentelemetry),
    },
];

/// Returns a notifier for each callback that is enabled or configured, and notes about others.
pub fn drafts(settings: &Settings, notes: &mut Vec<String>) -> Vec<Draft> {
    let enabled = settings.enabled();
    let mut names = Names::default();
    let mut drafts = Vec::new();
    for callback in &CALLBACKS {
        let is_enabled = enabled.contains(callback.name);
        let section = callback.section();
        let keys = settings.keys(&section);
        let has_own = keys.iter().any(|key| callback.knows(key));
        if !is_enabled && !has_own {
            continue;
        }
        if let (false, Fate::Nothing(_)) = (is_enabled, &callback.fate) {
            notes.push(format!(
                "[{section}] is left out: the callback is not enabled."
            ));
            continue;
        }
        let mut draft = draft(callback, settings, &section, &mut names);
        let sharing = CALLBACKS.iter().filter(|one| one.section() == section);
        let sharing: Vec<&Callback> = sharing.collect();
        let is_known = |key: &&&str| sharing.iter().any(|one| one.knows(key));
        for key in keys.iter().filter(|key| !is_known(key)) {
            draft.remark(format!("`{}` has no counterpart.", one_line(key)));
        }
        if !is_enabled {
            draft.mute("`callbacks_enabled` does not name the callback.");
        }
        drafts.push(draft);
    }
    let is_other = |name: &&String| CALLBACKS.iter().all(|one| one.name != name.as_str());
    for name in enabled.iter().filter(is_other) {
        let name = one_line(name);
        notes.push(format!(
            "The callback `{name}` stays in ansible.cfg: it cannot be imported."
        ));
    }
    drafts
}

fn draft(callback: &Callback, settings: &Settings, section: &str, names: &mut Names) -> Draft {
    let mut values = Map::new();
    for option in callback.options {
        let variables = option.variables.iter();
        let mut given = variables.filter_map(|name| std::env::var(name).ok());
        let given = given.find(|value| !value.is_empty());
        let written = || {
            option
                .keys
                .iter()
                .find_map(|key| settings.get(section, key))
        };
        if let Some(value) = given.or_else(written) {
            values.insert(option.name.to_owned(), value.into());
        }
    }
    let fields = Fields::new(&values, "the callback's");
    let name = names.notifier(callback.name, callback.name);
    let origin = format!("Ansible's callback community.general.{}", callback.name);
    match &callback.fate {
        Fate::Notifier(kind, write) => {
            let mut draft = Draft::new(name, kind);
            draft.describe(origin);
            write(&mut draft, &fields, names);
            for name in fields.others() {
                draft.remark(format!("`{name}` has no counterpart."));
            }
            draft
        }
        Fate::Nothing(reason) => {
            let mut draft = Draft::new(name, "");
            draft.describe(origin);
            for name in values.keys() {
                draft.remark(format!("`{name}` has no counterpart yet."));
            }
            draft.unfinished = Some(format!("no counterpart yet: {reason}"));
            draft
        }
    }
}
