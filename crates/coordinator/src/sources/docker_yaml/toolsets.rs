//! `toolsets`: the kinds this build has.

use std::collections::BTreeMap;

use greenroom_core::loop_spec::{LoopTool, McpAt, McpSpec};
use serde_json::Value;

use super::keys::{Keys, Wrong};
use crate::sources::loop_file::{Carried, carry_all, check_mcp_name, check_url};

/// Tools by the names they have in such files.
const NAMES: [(&str, LoopTool); 8] = [
    ("read_file", LoopTool::ReadFile),
    ("write_file", LoopTool::WriteFile),
    ("edit_file", LoopTool::EditFile),
    ("list_directory", LoopTool::List),
    ("directory_tree", LoopTool::List),
    ("search_files_content", LoopTool::Search),
    ("shell", LoopTool::Shell),
    ("fetch", LoopTool::Fetch),
];

/// The tool that has this name in such files.
pub(super) fn tool_named(name: &str) -> Option<LoopTool> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, tool)| *tool)
}

/// What an agent's toolsets come to.
#[derive(Debug, Default)]
pub(super) struct Toolsets {
    pub(super) tools: Vec<LoopTool>,
    pub(super) mcp: BTreeMap<String, McpSpec>,
    /// What they add to the instruction.
    pub(super) instructions: Vec<String>,
}

/// MCP servers of the file's top level, by name.
pub(super) type Shared = BTreeMap<String, Value>;

impl Toolsets {
    /// Reads one, and adds what it has.
    pub(super) fn add(
        &mut self,
        mut keys: Keys,
        shared: &Shared,
        carried: &mut Carried,
        warnings: &mut Vec<String>,
    ) -> Result<(), Wrong> {
        let kind: Option<String> = keys.take("type")?;
        let kind = kind.ok_or_else(|| keys.wrong("type", "is required"))?;
        let instruction: Option<String> = keys.take("instruction")?;
        self.instructions.extend(
            instruction.map(|text| text.replace("{ORIGINAL_INSTRUCTIONS}", "").trim().to_owned()),
        );
        let named: Option<Vec<String>> = keys.take("tools")?;
        match kind.as_str() {
            "filesystem" => {
                let all = [
                    LoopTool::ReadFile,
                    LoopTool::WriteFile,
                    LoopTool::EditFile,
                    LoopTool::List,
                    LoopTool::Search,
                ];
                let tools = own(&keys, named, &all, warnings)?;
                self.tools.extend(tools);
                keys.warn(&[("ignore_vcs", "only .git is passed over")], warnings);
            }
            "shell" => {
                let tools = own(&keys, named, &[LoopTool::Shell], warnings)?;
                self.tools.extend(tools);
            }
            "fetch" => {
                let tools = own(&keys, named, &[LoopTool::Fetch], warnings)?;
                self.tools.extend(tools);
                keys.warn(&[("timeout", "a page may take 30 s")], warnings);
            }
            "todo" => {
                self.tools.push(LoopTool::Todo);
                keys.warn(&[("shared", "each session has a list of its own")], warnings);
            }
            "think" => {
                let at = keys.at("type");
                warnings.push(format!("{at}: think is not served: the model thinks by itself"));
            }
            "mcp" => self.add_mcp(&mut keys, named, shared, carried)?,
            _ => {
                let known = "filesystem, shell, fetch, todo, think, mcp";
                let message = format!("{kind:?} is not served by this build: there are {known}");
                return Err(keys.wrong("type", message));
            }
        }
        keys.end(&["defer", "toon", "model", "env", "version", "post_edit"])
    }

    fn add_mcp(
        &mut self,
        keys: &mut Keys,
        named: Option<Vec<String>>,
        shared: &Shared,
        carried: &mut Carried,
    ) -> Result<(), Wrong> {
        let reference: Option<String> = keys.take("ref")?;
        if let Some(reference) = reference {
            let Some(known) = shared.get(&reference) else {
                let message = format!("{reference:?} is not in mcps; images are not served");
                return Err(keys.wrong("ref", message));
            };
            let mut of = Keys::of(format!("mcps.{reference}"), known.clone())?;
            // An entry of that map may say what it is, too.
            if of.take::<String>("type")?.is_some_and(|kind| kind != "mcp") {
                return Err(of.wrong("type", "must be mcp"));
            }
            let instruction: Option<String> = of.take("instruction")?;
            self.instructions.extend(instruction);
            let tools = of.take("tools")?;
            self.add_server(&mut of, Some(reference), named.or(tools), carried)?;
            return of.end(&["defer", "toon", "model", "version", "config", "ref"]);
        }
        self.add_server(keys, None, named, carried)
    }

    fn add_server(
        &mut self,
        keys: &mut Keys,
        fallback: Option<String>,
        tools: Option<Vec<String>>,
        carried: &mut Carried,
    ) -> Result<(), Wrong> {
        let name: Option<String> = keys.take("name")?;
        let name = name.or(fallback).unwrap_or_else(|| format!("mcp{}", self.mcp.len() + 1));
        check_mcp_name(&name).map_err(|message| keys.wrong("name", message))?;
        let prefix = format!("LOOP_MCP_{}", carried.env.len());
        let values = |values: BTreeMap<String, String>| -> BTreeMap<String, String> {
            values
                .into_iter()
                .map(|(name, value)| (name, value.replace("${env.", "${env:")))
                .collect()
        };
        let command: Option<String> = keys.take("command")?;
        let args: Vec<String> = keys.take("args")?.unwrap_or_default();
        let env: BTreeMap<String, String> = keys.take("env")?.unwrap_or_default();
        let at = match (command, keys.take_map("remote")?) {
            (Some(command), None) => {
                let env = carry_all(&prefix, &values(env), carried)
                    .map_err(|message| keys.wrong("env", message))?;
                McpAt::Stdio { command: [vec![command], args].concat(), env }
            }
            (None, Some(mut remote)) => {
                let url: Option<String> = remote.take("url")?;
                let url = url.ok_or_else(|| remote.wrong("url", "is required"))?;
                check_url(&url).map_err(|message| remote.wrong("url", message))?;
                let transport: Option<String> = remote.take("transport_type")?;
                if transport.is_some_and(|transport| transport != "streamable") {
                    let message = "must be streamable: the older \"sse\" is not served";
                    return Err(remote.wrong("transport_type", message));
                }
                let headers: BTreeMap<String, String> = remote.take("headers")?.unwrap_or_default();
                let headers = carry_all(&prefix, &values(headers), carried)
                    .map_err(|message| remote.wrong("headers", message))?;
                remote.end(&["oauth"])?;
                McpAt::Http { url, headers }
            }
            _ => {
                return Err(keys.wrong("command", "an MCP server has either a command or a remote"));
            }
        };
        if self.mcp.insert(name.clone(), McpSpec { at, tools }).is_some() {
            return Err(keys.wrong("name", format!("{name:?} is the name of two servers")));
        }
        Ok(())
    }
}

/// The tools that are named, out of those a toolset has; all where none is.
fn own(
    keys: &Keys,
    named: Option<Vec<String>>,
    tools: &[LoopTool],
    warnings: &mut Vec<String>,
) -> Result<Vec<LoopTool>, Wrong> {
    let Some(named) = named else { return Ok(tools.to_vec()) };
    let mut own = Vec::new();
    for name in &named {
        match tool_named(name).filter(|tool| tools.contains(tool)) {
            Some(tool) => own.push(tool),
            None => warnings.push(format!("{}: {name:?} is not served", keys.at("tools"))),
        }
    }
    Ok(own)
}
