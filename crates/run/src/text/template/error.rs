//! Errors of chat templates.

use std::{error::Error, fmt};

use minijinja::ErrorKind;

use crate::text::documents::DocumentError;

/// Reason why a conversation cannot be rendered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// A document of the model cannot be used.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The template is not UTF-8.
    #[error("chat_template.jinja is not UTF-8")]
    Encoding,
    /// The template does not parse.
    #[error("the chat template is not valid{}: {problem}", at(*line))]
    Syntax {
        /// The line, from 1, if one is to blame.
        line: Option<usize>,
        /// The problem.
        problem: String,
    },
    /// The variables are no JSON object.
    #[error("the variables of the chat template: {problem}")]
    Variables {
        /// The problem.
        problem: String,
    },
    /// The template refuses the conversation.
    #[error("the chat template refuses the conversation: {message}")]
    Raised {
        /// The template's words.
        message: String,
    },
    /// The template takes more steps, memory, output or time than it may.
    #[error("the chat template was stopped: {limit}")]
    Limit {
        /// The bound that it exceeds.
        limit: &'static str,
    },
    /// The template fails otherwise.
    #[error("the chat template fails{}: {problem}", at(*line))]
    Render {
        /// The line, from 1, if one is to blame.
        line: Option<usize>,
        /// The problem.
        problem: String,
    },
    /// The system gives no thread.
    #[error("no thread for the chat template")]
    Thread(#[source] std::io::Error),
}

/// Words of a template that calls `raise_exception`.
#[derive(Debug)]
pub(super) struct Raised(pub(super) String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Raised {}

impl TemplateError {
    /// The error of a template that does not parse.
    pub(super) fn syntax(error: &minijinja::Error) -> Self {
        Self::Syntax { line: error.line(), problem: words(error) }
    }

    /// The error of a template that fails.
    pub(super) fn render(error: &minijinja::Error) -> Self {
        let first: &(dyn Error + 'static) = error;
        let causes = std::iter::successors(Some(first), |error| (*error).source());
        for cause in causes {
            if let Some(Raised(message)) = cause.downcast_ref() {
                return Self::Raised { message: message.clone() };
            }
            if cause.downcast_ref::<minijinja::Error>().is_some_and(|error| error.kind() == ErrorKind::OutOfFuel) {
                return Self::Limit { limit: "it takes too many steps, or too much memory" };
            }
        }
        Self::Render { line: error.line(), problem: words(error) }
    }
}

/// The words of an error without its place, which is told apart.
fn words(error: &minijinja::Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()))
}

fn at(line: Option<usize>) -> String {
    line.map_or_else(String::new, |line| format!(" at line {line}"))
}
