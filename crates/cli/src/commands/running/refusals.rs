//! Errors of running a model, with their hints.

use longshore_run::{
    LoadError, RunError,
    generate::GenerateError,
    text::{SamplerError, TemplateError, TokenizerError},
};

use crate::{advice::Advice, causes::is_of_machine, commands::input::Input, errors::text};

/// Adds advice to an error of opening a model.
pub(super) fn loading(error: LoadError, input: &Input) -> anyhow::Error {
    let error = match error {
        LoadError::Weights(error) => return error.into(),
        error => error,
    };
    let words = || format!("{}: {}", input.name(), text(&error));
    match &error {
        LoadError::Architecture { .. } | LoadError::NoArchitecture => Advice::input(words())
            .hint("--as llama runs it as a plain decoder, if its tensors fit: nobody has checked that this is right")
            .into(),
        LoadError::Coding { .. } | LoadError::MissingTensor { .. } | LoadError::Shape { .. }
            if matches!(input, Input::Files(_)) =>
        {
            Advice::input(words())
                .hint("longshore import PATH NAME stores it with its codes understood; then longshore run NAME")
                .into()
        }
        LoadError::Rotated { .. } => {
            // It names the model itself.
            Advice::input(text(&error)).hint("import the checkpoint without --rotate, and embed with that model").into()
        }
        LoadError::Threads { .. } => Advice::failure(words()).into(),
        LoadError::ExpertMemory { .. } => Advice::input(words()).hint("leave out --experts").into(),
        LoadError::Budget { slot, .. } => {
            Advice::failure(words()).hint(format!("--experts {slot} holds one, and a token chooses several")).into()
        }
        LoadError::Experts(_) | LoadError::Slots(_) if is_of_machine(&error) => {
            anyhow::Error::from(error).context(format!("cannot open {}", input.name()))
        }
        _ => Advice::input(words()).into(),
    }
}

/// Adds advice to an error of a tokenizer.
pub(super) fn tokenizing(error: TokenizerError) -> anyhow::Error {
    match &error {
        TokenizerError::None { .. } => Advice::input(text(&error))
            .hint("tokenizer.json belongs beside the weights: download it with them, and import again")
            .into(),
        _ if is_of_machine(&error) => error.into(),
        _ => Advice::input(text(&error)).into(),
    }
}

/// Adds advice to an error of a chat template.
pub(super) fn templating(error: TemplateError) -> anyhow::Error {
    match &error {
        TemplateError::Thread(_) => Advice::failure(text(&error)).into(),
        _ if is_of_machine(&error) => error.into(),
        _ => Advice::input(text(&error)).into(),
    }
}

/// The error of a model without a chat template.
pub(super) fn no_template(model: &str, verb: &str) -> anyhow::Error {
    let advice = Advice::input(format!(
        "{model} has no chat template: expected chat_template.jinja, or chat_template in tokenizer_config.json"
    ));
    match verb {
        "chat" => advice.hint(format!("longshore run {model} PROMPT sends a prompt as it is")).into(),
        _ => advice.hint("without --chat the prompt is sent as it is").into(),
    }
}

/// Adds advice to an error of writing an answer.
pub(super) fn generating(error: GenerateError) -> anyhow::Error {
    match error {
        GenerateError::Run(error) => running(error),
        GenerateError::Tokenizer(error) => tokenizing(error),
        GenerateError::Template(error) => templating(error),
        GenerateError::Sampler(error @ SamplerError::Option { .. }) => {
            Advice::failure(format!("--{}", error.to_string().replacen(' ', "-", usize::from(is_two_words(&error)))))
                .into()
        }
        error @ (GenerateError::Prompt { .. } | GenerateError::Conversation { .. }) => Advice::input(error.to_string())
            .hint("--truncate drops the beginning; --max-seq N makes room where the model's context has it")
            .into(),
        GenerateError::Draft => Advice::failure(error.to_string())
            .hint("leave out --draft, or --temperature and --repetition-penalty")
            .into(),
        error => Advice::input(text(&error)).into(),
    }
}

/// Adds advice to an error of running tokens.
pub(super) fn running(error: RunError) -> anyhow::Error {
    match error {
        RunError::Cancelled => Advice::interrupted("interrupted").into(),
        RunError::Experts(_) | RunError::Record(_) if is_of_machine(&error) => error.into(),
        error => Advice::input(text(&error)).into(),
    }
}

/// Whether the name of the option in an error has a space, where the argument has a hyphen.
fn is_two_words(error: &SamplerError) -> bool {
    matches!(error, SamplerError::Option { option, .. } if option.contains(' '))
}
