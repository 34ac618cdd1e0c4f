//! Conversations.

use super::{
    draft::{continue_drafted, speculation},
    error::GenerateError,
    options::{GenerateOptions, Generation},
    stream::generate_stream,
};
use crate::{
    model::Model,
    session::Session,
    speculate::{Proposer, Speculation},
    text::{ChatTemplate, Message, Tokenizer},
};

/// A conversation with a model, in the model's own chat template. It lies in memory alone.
///
/// The part of the conversation that the model has seen stays in its cache, so that each turn costs its own tokens only.
///
/// ```no_run
/// # use longshore_run::{LoadOptions, Model, generate::*, manifest::weights::Source, text::*};
/// let model = Model::open(Source::open("./SmolLM2-135M-Instruct")?, LoadOptions::default())?;
/// let tokenizer = Tokenizer::open(model.source())?;
/// let template = ChatTemplate::open(model.source())?.ok_or("it has no chat template")?;
/// let mut chat = Chat::new(&model, &tokenizer, &template, GenerateOptions::default());
/// chat.push(Message::system("Answer in one sentence."));
/// let answer = chat.send("Why is the sky blue?", |piece| print!("{piece}"))?;
/// println!(" ({} tokens)", answer.tokens.len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Chat<'m> {
    writer: Writer<'m>,
    tokenizer: &'m Tokenizer,
    template: &'m ChatTemplate,
    options: GenerateOptions,
    messages: Vec<Message>,
}

/// Sequence of the conversation's tokens.
#[derive(Debug)]
enum Writer<'m> {
    Alone {
        session: Box<Session<'m>>,
        /// Tokens that the session holds.
        seen: Vec<u32>,
    },
    Drafted(Box<Speculation<'m, 'm>>),
}

impl<'m> Chat<'m> {
    /// Begins a conversation.
    #[must_use]
    pub fn new(
        model: &'m Model,
        tokenizer: &'m Tokenizer,
        template: &'m ChatTemplate,
        options: GenerateOptions,
    ) -> Self {
        let writer = Writer::Alone { session: Box::new(model.session()), seen: Vec::new() };
        Self { writer, tokenizer, template, options, messages: Vec::new() }
    }

    /// Begins a conversation in which `draft`, a small model or a head of the model's own, proposes tokens and `model` checks several
    /// at once. The answers are those of `model` alone.
    ///
    /// # Errors
    ///
    /// [`GenerateError::Draft`] for options that are not greedy, and [`RunError::Vocabularies`](crate::RunError::Vocabularies) for a
    /// draft of another vocabulary, [`RunError::Head`](crate::RunError::Head) for the head of another model.
    pub fn with_draft(
        model: &'m Model,
        draft: impl Into<Proposer<'m>>,
        tokenizer: &'m Tokenizer,
        template: &'m ChatTemplate,
        options: GenerateOptions,
    ) -> Result<Self, GenerateError> {
        let writer = Writer::Drafted(Box::new(speculation(model.session(), draft, &options)?));
        Ok(Self { writer, tokenizer, template, options, messages: Vec::new() })
    }

    /// Session of the conversation, to set a flag that ends a turn.
    pub fn session(&mut self) -> &mut Session<'m> {
        match &mut self.writer {
            Writer::Alone { session, .. } => session,
            Writer::Drafted(speculation) => speculation.target_mut(),
        }
    }

    /// Number of tokens that the draft proposed so far and the model would have chosen itself, and of all that it proposed. `None`
    /// without a draft.
    #[must_use]
    pub fn acceptance(&self) -> Option<(usize, usize)> {
        match &self.writer {
            Writer::Alone { .. } => None,
            Writer::Drafted(speculation) => Some(speculation.acceptance()),
        }
    }

    /// Turns so far.
    #[must_use]
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Adds a turn without an answer, such as the system's.
    pub fn push(&mut self, message: Message) {
        self.messages.push(message);
    }

    /// Says something, and gives the answer to `piece` as it comes. Where the conversation becomes longer than the context and the
    /// options allow it, its oldest turns but the system's are forgotten.
    ///
    /// # Errors
    ///
    /// [`GenerateError`]. What was said is no part of the conversation then.
    pub fn send(&mut self, text: impl Into<String>, mut piece: impl FnMut(&str)) -> Result<Generation, GenerateError> {
        let before = self.messages.clone();
        self.messages.push(Message::user(text));
        let answer = self.answer(&mut piece);
        match &answer {
            Ok(answer) => self.messages.push(Message::assistant(answer.text.clone())),
            Err(_) => self.messages = before,
        }
        answer
    }

    fn answer(&mut self, piece: &mut dyn FnMut(&str)) -> Result<Generation, GenerateError> {
        let prompt = self.prompt()?;
        let known = |seen: &[u32]| {
            let known = prompt.iter().zip(seen).take_while(|(new, old)| new == old).count();
            // The last token is run again in any case, for its logits.
            known.min(prompt.len().saturating_sub(1))
        };
        let mut answer = match &mut self.writer {
            Writer::Alone { session, seen } => {
                let known = known(seen).min(session.position());
                session.truncate(known);
                seen.truncate(known);
                let mut stream = generate_stream(session, self.tokenizer, &prompt[known..], &self.options)?;
                for step in &mut stream {
                    piece(&step?.text);
                }
                let answer = stream.into_generation();
                seen.clone_from(&prompt);
                seen.extend(&answer.tokens);
                // The last token was chosen and not run.
                seen.truncate(session.position());
                answer
            }
            Writer::Drafted(speculation) => {
                let known = known(speculation.seen());
                speculation.truncate(known);
                continue_drafted(speculation, self.tokenizer, &prompt[known..], &self.options, piece)?
            }
        };
        answer.prompt_tokens = prompt.len();
        Ok(answer)
    }

    /// Tokens of the conversation, shortened where it is too long. The template puts BOS itself.
    fn prompt(&mut self) -> Result<Vec<u32>, GenerateError> {
        let session = self.session();
        let limit = session.position() + session.room();
        loop {
            let text = self.template.render(&self.messages, true)?;
            let tokens = self.tokenizer.encode(&text)?;
            if tokens.is_empty() {
                return Err(GenerateError::Empty);
            }
            let wanted = if self.options.truncate { limit.saturating_sub(self.reserve(limit)) } else { limit };
            if tokens.len() <= wanted {
                return Ok(tokens);
            }
            if !self.options.truncate || !self.forget() {
                let found = tokens.len();
                return if found <= limit {
                    Ok(tokens)
                } else {
                    Err(GenerateError::Conversation { tokens: found, limit })
                };
            }
        }
    }

    /// Tokens that are left for the answer.
    fn reserve(&self, limit: usize) -> usize {
        self.options.max_tokens.min(limit / 2)
    }

    /// Forgets the oldest turn of the user with the answers to it. Returns whether there was one before the last.
    fn forget(&mut self) -> bool {
        let mut users = self.messages.iter().enumerate().filter(|(_, message)| message.role == "user");
        let (Some((first, _)), Some((second, _))) = (users.next(), users.next()) else { return false };
        self.messages.drain(first..second);
        true
    }
}
