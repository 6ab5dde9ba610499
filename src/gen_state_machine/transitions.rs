//! A machine's table of transitions, and pictures of it.

use std::fmt::Write;

/// One row of a table: in state `from`, `event` leads to `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transition {
    /// The state it begins in.
    pub from: String,
    /// What happens.
    pub event: String,
    /// The state it leads to; `None`: the machine stops.
    pub to: Option<String>,
}

/// What a machine may do: a table that it declares in
/// [`GenStateMachine::transitions`](super::GenStateMachine::transitions), to be drawn or compared.
/// Nothing checks that the machine keeps to it; [`allows`](Self::allows) is for a test that does.
///
/// ```
/// use noex::Transitions;
///
/// let door = Transitions::new()
///     .initial("closed")
///     .transition("closed", "push", "open")
///     .transition("open", "10 s", "closed")
///     .stops("closed", "dismantle");
/// assert_eq!(
///     door.to_mermaid(),
///     "stateDiagram-v2
///     state \"closed\" as s0
///     state \"open\" as s1
///     [*] --> s0
///     s0 --> s1 : push
///     s1 --> s0 : 10 s
///     s0 --> [*] : dismantle
/// "
/// );
/// assert!(door.allows("open", "closed") && !door.allows("closed", "closed"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transitions {
    initial: Vec<String>,
    rows: Vec<Transition>,
}

impl Transitions {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a state that the machine may begin in.
    pub fn initial(mut self, state: impl Into<String>) -> Self {
        self.initial.push(state.into());
        self
    }

    /// Adds a row: in `from`, `event` leads to `to`, which may be `from`.
    pub fn transition(
        mut self,
        from: impl Into<String>,
        event: impl Into<String>,
        to: impl Into<String>,
    ) -> Self {
        self.rows.push(Transition {
            from: from.into(),
            event: event.into(),
            to: Some(to.into()),
        });
        self
    }

    /// Adds a row: in `from`, `event` stops the machine.
    pub fn stops(mut self, from: impl Into<String>, event: impl Into<String>) -> Self {
        self.rows.push(Transition {
            from: from.into(),
            event: event.into(),
            to: None,
        });
        self
    }

    /// The rows, in the order they were added.
    pub fn rows(&self) -> &[Transition] {
        &self.rows
    }

    /// Whether some event leads from `from` to `to`.
    pub fn allows(&self, from: &str, to: &str) -> bool {
        self.rows
            .iter()
            .any(|row| row.from == from && row.to.as_deref() == Some(to))
    }

    /// The states, in the order they are first named.
    pub fn states(&self) -> Vec<&str> {
        let mut states: Vec<&str> = Vec::new();
        let of_rows = self
            .rows
            .iter()
            .flat_map(|row| [Some(row.from.as_str()), row.to.as_deref()]);
        let named = self.initial.iter().map(|state| Some(state.as_str()));
        for state in named.chain(of_rows).flatten() {
            if !states.contains(&state) {
                states.push(state);
            }
        }
        states
    }

    /// The table as a graph for Graphviz.
    pub fn to_dot(&self) -> String {
        let states = self.states();
        let mut text = String::from("digraph machine {\n    node [shape=box, style=rounded];\n");
        for (n, state) in states.iter().enumerate() {
            line(&mut text, format_args!("s{n} [label={}];", quoted(state)));
        }
        for (n, state) in self.initial.iter().enumerate() {
            line(&mut text, format_args!("begin{n} [shape=point];"));
            line(
                &mut text,
                format_args!("begin{n} -> s{};", number(&states, state)),
            );
        }
        if self.rows.iter().any(|row| row.to.is_none()) {
            line(
                &mut text,
                format_args!("end [shape=doublecircle, label=\"\"];"),
            );
        }
        for row in &self.rows {
            let from = number(&states, &row.from);
            let event = quoted(&row.event);
            match &row.to {
                Some(to) => {
                    let to = number(&states, to);
                    line(&mut text, format_args!("s{from} -> s{to} [label={event}];"));
                }
                None => line(&mut text, format_args!("s{from} -> end [label={event}];")),
            }
        }
        text.push_str("}\n");
        text
    }

    /// The table as a Mermaid `stateDiagram-v2`, as Markdown renderers draw it.
    pub fn to_mermaid(&self) -> String {
        let states = self.states();
        let mut text = String::from("stateDiagram-v2\n");
        for (n, state) in states.iter().enumerate() {
            line(
                &mut text,
                format_args!("state \"{}\" as s{n}", entities(state)),
            );
        }
        for state in &self.initial {
            line(
                &mut text,
                format_args!("[*] --> s{}", number(&states, state)),
            );
        }
        for row in &self.rows {
            let from = number(&states, &row.from);
            let event = entities(&row.event);
            match &row.to {
                Some(to) => {
                    let to = number(&states, to);
                    line(&mut text, format_args!("s{from} --> s{to} : {event}"));
                }
                None => line(&mut text, format_args!("s{from} --> [*] : {event}")),
            }
        }
        text
    }
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "    {content}");
}

/// Its place in `states`, which has it.
fn number(states: &[&str], state: &str) -> usize {
    states.iter().position(|other| *other == state).unwrap_or(0)
}

/// A string of the DOT language.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Text for Mermaid, in which what would end it is an entity.
fn entities(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '"' | '#' | ';' | ':' | '<' | '>' | '\\' | '`' => {
                let _ = write!(escaped, "#{};", u32::from(c));
            }
            '\n' => escaped.push_str("<br>"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_name_contains_it_stays_one_label() {
        let table =
            Transitions::new()
                .initial("a \"b\"\\")
                .transition("a \"b\"\\", "x;\ny: #1", "c");
        assert_eq!(
            table.to_dot(),
            r#"digraph machine {
    node [shape=box, style=rounded];
    s0 [label="a \"b\"\\"];
    s1 [label="c"];
    begin0 [shape=point];
    begin0 -> s0;
    s0 -> s1 [label="x;\ny: #1"];
}
"#
        );
        assert_eq!(
            table.to_mermaid(),
            r#"stateDiagram-v2
    state "a #34;b#34;#92;" as s0
    state "c" as s1
    [*] --> s0
    s0 --> s1 : x#59;<br>y#58; #35;1
"#
        );
    }

    #[test]
    fn a_stop_is_drawn_as_an_end_and_an_empty_table_as_an_empty_graph() {
        let table = Transitions::new().stops("a", "end");
        assert!(table.to_dot().contains("s0 -> end [label=\"end\"];"));
        assert!(table.to_dot().contains("end [shape=doublecircle"));
        assert!(table.to_mermaid().contains("s0 --> [*] : end"));
        assert!(!table.allows("a", "a"));
        assert_eq!(table.states(), ["a"]);
        assert_eq!(Transitions::new().to_mermaid(), "stateDiagram-v2\n");
    }
}
