//! Tools that ask the client through their result, as 2026-07-28 does: the result says what is
//! missing, and the client calls again with it. For the legacy way, see `asking`.

use rmcp::ErrorData;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ClientCapabilities, CreateMessageRequest,
    CreateMessageRequestParams, ElicitRequest, ElicitRequestParams, GetPromptResponse,
    GetPromptResult, InputRequest, InputRequests, InputRequiredResult, InputResponses,
    ListRootsRequest, PromptMessage, RequestStateCodec, Role, SamplingMessage, SealOptions,
};
use serde_json::{Value, json};

use crate::catalogue::{Listed, internal, text, text_at};

pub(crate) const TOOLS: &[Listed] = &[
    Listed::plain(ELICITATION, "Asks the user for a name."),
    Listed::plain(SAMPLING, "Asks the client's model for a capital."),
    Listed::plain(ROOTS, "Asks for the client's roots."),
    Listed::plain(STATE, "Asks once, and keeps its state with the client."),
    Listed::plain(TAMPERED, "Asks once, and trusts no changed state."),
    Listed::plain(SEVERAL, "Asks for three things at once."),
    Listed::plain(STEPS, "Asks twice, once after the other."),
    Listed::plain(DECLARED, "Asks only for what the client can give."),
    Listed::plain(STREAMING, "Asks the user, on a stream."),
];

const ELICITATION: &str = "test_input_required_result_elicitation";
const SAMPLING: &str = "test_input_required_result_sampling";
const ROOTS: &str = "test_input_required_result_list_roots";
const STATE: &str = "test_input_required_result_request_state";
const TAMPERED: &str = "test_input_required_result_tampered_state";
const SEVERAL: &str = "test_input_required_result_multiple_inputs";
const STEPS: &str = "test_input_required_result_multi_round";
const DECLARED: &str = "test_input_required_result_capabilities";
const STREAMING: &str = "test_streaming_elicitation";
/// The only prompt that asks.
pub(crate) const PROMPT: &str = "test_input_required_result_prompt";

/// A call that may be one of several rounds, and what its rounds share.
pub(crate) struct Round<'a> {
    /// The call, with the answers and the state that came with it.
    pub(crate) request: &'a CallToolRequestParams,
    /// What this client can be asked for.
    pub(crate) capabilities: ClientCapabilities,
    /// The client keeps our state between rounds, so it is sealed.
    pub(crate) codec: &'a RequestStateCodec,
}

impl Round<'_> {
    /// Runs one of [`TOOLS`].
    pub(crate) fn call(&self) -> Result<CallToolResponse, ErrorData> {
        match &*self.request.name {
            ELICITATION => self.ask_once("user_name", ask_name()?, |answer| {
                format!("Hello, {}!", text_at(answer, "/content/name", "nobody"))
            }),
            SAMPLING => {
                let question = ask_model("What is the capital of France?");
                self.ask_once("capital_question", question, |answer| {
                    text_at(answer, "/content/text", "nothing").to_owned()
                })
            }
            ROOTS => self.ask_once("client_roots", ask_roots(), |answer| {
                format!("The roots: {}", answer["roots"])
            }),
            STREAMING => self.ask_once("value", ask_name()?, |_| "Answered.".to_owned()),
            STATE | TAMPERED => self.confirm(),
            SEVERAL => self.ask_several(),
            STEPS => self.ask_in_steps(),
            DECLARED => self.ask_declared(),
            _ => Err(ErrorData::invalid_params("no such tool", None)),
        }
    }

    fn ask_once(
        &self,
        key: &str,
        question: InputRequest,
        finish: impl FnOnce(&Value) -> String,
    ) -> Result<CallToolResponse, ErrorData> {
        Ok(match answer(self.request.input_responses.as_ref(), key) {
            Some(answer) => text(finish(answer)).into(),
            None => asking([(key, question)], None).into(),
        })
    }

    fn confirm(&self) -> Result<CallToolResponse, ErrorData> {
        if self.step()? > 0 {
            return Ok(text("state-ok").into());
        }
        let question = ask_user("Please confirm", "ok", "boolean")?;
        Ok(asking([("confirm", question)], Some(self.seal(1)?)).into())
    }

    fn ask_several(&self) -> Result<CallToolResponse, ErrorData> {
        let questions = [
            ("user_name", ask_name()?),
            ("greeting", ask_model("Generate a greeting")),
            ("client_roots", ask_roots()),
        ];
        let answers = self.request.input_responses.as_ref();
        let answered = questions
            .iter()
            .all(|(key, _)| answer(answers, key).is_some());
        if self.step()? > 0 && answered {
            return Ok(text("All three were answered.").into());
        }
        Ok(asking(questions, Some(self.seal(1)?)).into())
    }

    fn ask_in_steps(&self) -> Result<CallToolResponse, ErrorData> {
        let answers = self.request.input_responses.as_ref();
        let step = self.step()?;
        if step == 2 && answer(answers, "step2").is_some() {
            return Ok(text("Both steps are done.").into());
        }
        if step >= 1 && answer(answers, "step1").is_some() {
            let question = ask_user("Step 2: What is your favorite color?", "color", "string")?;
            return Ok(asking([("step2", question)], Some(self.seal(2)?)).into());
        }
        let question = ask_user("Step 1: What is your name?", "name", "string")?;
        Ok(asking([("step1", question)], Some(self.seal(1)?)).into())
    }

    fn ask_declared(&self) -> Result<CallToolResponse, ErrorData> {
        let mut questions = Vec::new();
        if self.capabilities.elicitation.is_some() {
            questions.push(("user_name", ask_name()?));
        }
        if self.capabilities.sampling.is_some() {
            questions.push(("greeting", ask_model("Generate a greeting")));
        }
        if questions.is_empty() || self.request.input_responses.is_some() {
            return Ok(text("There is nothing to ask.").into());
        }
        Ok(asking(questions, None).into())
    }

    fn seal(&self, step: u8) -> Result<String, ErrorData> {
        let options = SealOptions::new().associated_data(self.request.name.as_bytes());
        self.codec.seal_json_with(&step, &options).map_err(internal)
    }

    /// Returns how many rounds this call has completed. Only our sealed state proves that.
    fn step(&self) -> Result<u8, ErrorData> {
        let Some(state) = &self.request.request_state else {
            return Ok(0);
        };
        self.codec
            .open_json_with(state, self.request.name.as_bytes())
            .map_err(|_| ErrorData::invalid_params("the requestState is not ours", None))
    }
}

/// Answers `prompts/get` of [`PROMPT`].
pub(crate) fn prompt(answers: Option<&InputResponses>) -> Result<GetPromptResponse, ErrorData> {
    let Some(answer) = answer(answers, "user_context") else {
        let question = ask_user("What context should the prompt use?", "context", "string")?;
        return Ok(asking([("user_context", question)], None).into());
    };
    let context = text_at(answer, "/content/context", "none");
    let message = PromptMessage::new_text(Role::User, format!("The context: {context}"));
    Ok(GetPromptResult::new(vec![message]).into())
}

/// Returns an elicitation with one field.
pub(crate) fn ask_user(message: &str, field: &str, kind: &str) -> Result<InputRequest, ErrorData> {
    let schema = json!({
        "type": "object",
        "properties": { field: { "type": kind } },
        "required": [field]
    });
    let form = ElicitRequestParams::FormElicitationParams {
        meta: None,
        message: message.to_owned(),
        requested_schema: serde_json::from_value(schema).map_err(internal)?,
    };
    Ok(InputRequest::Elicitation(ElicitRequest::new(form)))
}

/// Returns the answer under `key`. A non-object counts as no answer, so the question is asked
/// again.
pub(crate) fn answer<'a>(answers: Option<&'a InputResponses>, key: &str) -> Option<&'a Value> {
    answers?.get(key).filter(|answer| answer.is_object())
}

/// Returns the result that asks.
pub(crate) fn asking<'a>(
    questions: impl IntoIterator<Item = (&'a str, InputRequest)>,
    state: Option<String>,
) -> InputRequiredResult {
    let questions: InputRequests = questions
        .into_iter()
        .map(|(key, question)| (key.to_owned(), question))
        .collect();
    InputRequiredResult::new(Some(questions), state)
}

fn ask_name() -> Result<InputRequest, ErrorData> {
    ask_user("What is your name?", "name", "string")
}

fn ask_model(prompt: &str) -> InputRequest {
    let messages = vec![SamplingMessage::user_text(prompt)];
    let params = CreateMessageRequestParams::new(messages, 100);
    InputRequest::CreateMessage(CreateMessageRequest::new(params))
}

fn ask_roots() -> InputRequest {
    InputRequest::ListRoots(ListRootsRequest::default())
}
