import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useRef, useState } from "react";
import { deleteFile, makeFolder, perform } from "@/api/actions";
import { problemOf, send } from "@/api/client";
import { contentUrl, filesQuery, MOST_SHOWN, queries } from "@/api/queries";
import type { FileInfo, Session } from "@/api/types";
import { Ago, Empty, ErrorNote, Rows } from "@/ui/bits";
import { Button, IconButton, Spinner } from "@/ui/button";
import { bytes, plural } from "@/ui/format";
import { Icon } from "@/ui/icons";
import { Menu } from "@/ui/overlay";
import { complain, toast } from "@/ui/toast";
import { useMe } from "../../rights";
import { isNotKept, NotKept } from "../NotKept";

const Highlight = lazy(() => import("@/rich/Highlight"));
const Markdown = lazy(() => import("@/rich/Markdown"));

const join = (folder: string, name: string): string => (folder === "" ? name : `${folder}/${name}`);

interface FilesProps {
  id: string;
  session: Session;
  /** The moment whose files are shown; `null` is now. */
  seq: number | null;
}

/** The files of a session: live, kept when it has ended, and as they were. */
export default function Files({ id, session, seq }: FilesProps) {
  const me = useMe();
  const writes = me.uses && seq === null;
  const [folder, setFolder] = useState("");
  const [file, setFile] = useState<FileInfo | null>(null);
  const [uploading, setUploading] = useState<string | null>(null);
  const [over, setOver] = useState(false);
  const picker = useRef<HTMLInputElement>(null);
  const list = useQuery(filesQuery(id, folder, seq));
  const again = () => void queries.invalidateQueries({ queryKey: ["files", id] });

  const upload = async (files: FileList | File[]) => {
    let done = 0;
    for (const one of files) {
      setUploading(one.name);
      try {
        await send(contentUrl(id, join(folder, one.name)), {
          method: "PUT",
          raw: one,
          headers: { "content-type": "application/octet-stream" },
        });
        done += 1;
      } catch (error) {
        complain(error, one.name);
      }
    }
    setUploading(null);
    if (done > 0) toast({ tone: "good", text: `${plural(done, "file")} uploaded` });
    again();
  };
  const mkdir = async () => {
    const name = prompt("Name of the folder");
    if (name === null || name.trim() === "") return;
    await perform(makeFolder(id, join(folder, name.trim()))).catch(complain);
    again();
  };
  const remove = async (info: FileInfo) => {
    if (!confirm(`Delete ${info.path}${info.kind === "dir" ? " and all that is in it" : ""}?`))
      return;
    await perform(deleteFile(id, info.path, info.kind === "dir")).catch(complain);
    if (file?.path === info.path) setFile(null);
    again();
  };
  const parts = folder === "" ? [] : folder.split("/");
  const entries = [...(list.data?.items ?? [])].sort(
    (a, b) => Number(b.kind === "dir") - Number(a.kind === "dir") || a.name.localeCompare(b.name),
  );
  return (
    <div
      className={`flex min-h-0 flex-1 flex-col md:flex-row ${over ? "outline-2 outline-accent outline-dashed -outline-offset-4" : ""}`}
      role="presentation"
      onDragOver={(event) => {
        if (!writes) return;
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        if (writes) void upload([...event.dataTransfer.files]);
      }}
    >
      <div
        className={`flex min-h-0 flex-col md:w-80 md:shrink-0 md:border-r ${file !== null ? "max-md:hidden" : "flex-1 md:flex-none"}`}
      >
        <div className="flex items-center gap-1 border-b px-3 py-1.5">
          <nav
            aria-label="Folder"
            className="flex min-w-0 flex-1 flex-wrap items-center gap-0.5 text-xs"
          >
            <button
              type="button"
              className="rounded px-1 text-dim hover:bg-hover hover:text-ink"
              onClick={() => setFolder("")}
            >
              workspace
            </button>
            {parts.map((part, index) => (
              <span key={index} className="flex items-center gap-0.5">
                <span className="text-faint">/</span>
                <button
                  type="button"
                  className="rounded px-1 hover:bg-hover"
                  onClick={() => setFolder(parts.slice(0, index + 1).join("/"))}
                >
                  {part}
                </button>
              </span>
            ))}
          </nav>
          <IconButton icon="refresh" label="Read again" onClick={again} />
          {writes ? (
            <>
              <IconButton icon="folder" label="New folder" onClick={() => void mkdir()} />
              <IconButton
                icon="upload"
                label="Upload"
                disabled={uploading !== null}
                onClick={() => picker.current?.click()}
              />
              <input
                ref={picker}
                type="file"
                multiple
                hidden
                aria-label="Files to upload"
                onChange={(event) => {
                  if (event.target.files !== null) void upload([...event.target.files]);
                  event.target.value = "";
                }}
              />
            </>
          ) : null}
        </div>
        {seq !== null ? (
          <p className="border-b px-3 py-1.5 text-dim text-xs" data-part="moment">
            As the last run that had ended by entry {seq} left them
          </p>
        ) : null}
        <div className="min-h-0 flex-1 overflow-y-auto">
          {uploading !== null ? (
            <p
              className="flex items-center gap-2 border-b px-3 py-1.5 text-dim text-xs"
              role="status"
            >
              <Spinner /> {uploading}
            </p>
          ) : null}
          {list.isPending ? (
            <Rows n={6} height={32} />
          ) : list.isError && isNotKept(list.error) ? (
            <NotKept problem={problemOf(list.error)} />
          ) : list.isError ? (
            problemOf(list.error).status === 404 && session.runner_id == null ? (
              <Empty icon="folder" title="No files yet">
                The workspace is made when the session first starts.
              </Empty>
            ) : (
              <div className="p-3">
                <ErrorNote error={list.error} onRetry={() => void list.refetch()} compact />
              </div>
            )
          ) : entries.length === 0 ? (
            <Empty icon="folder" title="An empty folder">
              {writes ? "Drop files here to upload them." : null}
            </Empty>
          ) : (
            <ul>
              {entries.map((info) => (
                <li
                  key={info.path}
                  className={`group flex h-8 items-center gap-2 px-3 hover:bg-hover ${file?.path === info.path ? "bg-chosen" : ""}`}
                >
                  <button
                    type="button"
                    className="flex min-w-0 flex-1 items-center gap-2 text-left"
                    onClick={() => (info.kind === "dir" ? setFolder(info.path) : setFile(info))}
                  >
                    <Icon
                      name={
                        info.kind === "dir" ? "folder" : info.kind === "symlink" ? "link" : "file"
                      }
                      size={14}
                      className={info.kind === "dir" ? "text-accent" : "text-faint"}
                    />
                    <span className="min-w-0 flex-1 truncate">{info.name}</span>
                    <span className="shrink-0 text-2xs text-faint tabular">
                      {info.kind === "file" ? bytes(info.size) : ""}
                    </span>
                  </button>
                  {writes ? (
                    <Menu
                      trigger={<IconButton icon="more" label={`Actions for ${info.name}`} />}
                      items={[
                        ...(info.kind === "file"
                          ? [
                              {
                                label: "Download",
                                icon: "download" as const,
                                onSelect: () => download(id, info, seq),
                              },
                            ]
                          : []),
                        {
                          label: "Delete",
                          icon: "trash",
                          danger: true,
                          onSelect: () => void remove(info),
                        },
                      ]}
                    />
                  ) : null}
                </li>
              ))}
            </ul>
          )}
        </div>
      </div>
      <div
        className={`flex min-h-0 min-w-0 flex-1 flex-col ${file === null ? "max-md:hidden" : ""}`}
      >
        {file === null ? (
          <Empty icon="file" title="Choose a file" />
        ) : (
          <>
            <div className="flex items-center gap-2 border-b px-3 py-1.5">
              <span className="md:hidden">
                <IconButton
                  icon="right"
                  label="All files"
                  className="rotate-180"
                  onClick={() => setFile(null)}
                />
              </span>
              <span className="min-w-0 flex-1 truncate font-mono text-xs">{file.path}</span>
              <span className="shrink-0 text-faint text-xs tabular">
                {bytes(file.size)}
                {file.modified_at != null ? (
                  <>
                    {" · "}
                    <Ago at={file.modified_at} />
                  </>
                ) : null}
              </span>
              <IconButton
                icon="download"
                label="Download"
                onClick={() => download(id, file, seq)}
              />
            </div>
            <FileView id={id} file={file} seq={seq} />
          </>
        )}
      </div>
    </div>
  );
}

function download(id: string, file: FileInfo, seq: number | null): void {
  const link = document.createElement("a");
  link.href = contentUrl(id, file.path, seq);
  link.download = file.name;
  link.click();
}

const LANGUAGES: Readonly<Record<string, string>> = {
  js: "javascript",
  mjs: "javascript",
  jsx: "javascript",
  ts: "typescript",
  tsx: "typescript",
  py: "python",
  rs: "rust",
  sh: "bash",
  yml: "yaml",
  yaml: "yaml",
  toml: "ini",
  json: "json",
  md: "markdown",
  go: "go",
  c: "c",
  h: "c",
  cpp: "cpp",
  java: "java",
  rb: "ruby",
  sql: "sql",
  css: "css",
  html: "xml",
  xml: "xml",
  diff: "diff",
  patch: "diff",
};
const PICTURES = new Set(["png", "jpg", "jpeg", "gif", "webp"]);

type Content =
  | { kind: "text"; text: string; cut: boolean }
  | { kind: "picture"; url: string }
  | { kind: "binary" };

async function read(
  id: string,
  file: FileInfo,
  seq: number | null,
  signal: AbortSignal,
): Promise<Content> {
  const ending = file.name.split(".").pop()?.toLowerCase() ?? "";
  const response = await send(contentUrl(id, file.path, seq), {
    signal,
    headers: { accept: "*/*" },
  });
  if (PICTURES.has(ending) && file.size < 8 * 1024 * 1024) {
    const kind = ending === "jpg" ? "jpeg" : ending;
    return {
      kind: "picture",
      url: URL.createObjectURL(new Blob([await response.arrayBuffer()], { type: `image/${kind}` })),
    };
  }
  const reader = response.body?.getReader();
  const chunks: Uint8Array[] = [];
  let length = 0;
  while (reader !== undefined && length < MOST_SHOWN) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    length += value.length;
  }
  void reader?.cancel();
  const all = new Uint8Array(await new Blob(chunks as BlobPart[]).arrayBuffer()).subarray(
    0,
    MOST_SHOWN,
  );
  if (all.subarray(0, 8000).includes(0)) return { kind: "binary" };
  return {
    kind: "text",
    text: new TextDecoder().decode(all),
    cut: length >= MOST_SHOWN && file.size > MOST_SHOWN,
  };
}

function FileView({ id, file, seq }: { id: string; file: FileInfo; seq: number | null }) {
  const [raw, setRaw] = useState(false);
  const content = useQuery({
    queryKey: ["content", id, file.path, file.modified_at, file.size, seq ?? "now"],
    queryFn: ({ signal }) => read(id, file, seq, signal),
    staleTime: 0,
    gcTime: 30_000,
  });
  const ending = file.name.split(".").pop()?.toLowerCase() ?? "";
  if (content.isPending) return <Rows n={8} height={22} />;
  if (content.isError) {
    return (
      <div className="p-4">
        <ErrorNote error={content.error} onRetry={() => void content.refetch()} />
      </div>
    );
  }
  const { data } = content;
  if (data.kind === "picture") {
    return (
      <div className="grid min-h-0 flex-1 place-items-center overflow-auto p-4">
        <img src={data.url} alt={file.path} className="max-w-full rounded-lg border" />
      </div>
    );
  }
  if (data.kind === "binary") {
    return (
      <Empty
        icon="file"
        title="This is no text"
        action={
          <Button icon="download" onClick={() => download(id, file, seq)}>
            Download
          </Button>
        }
      />
    );
  }
  const language = LANGUAGES[ending];
  const drawn = ending === "md" && !raw;
  return (
    <div className="min-h-0 flex-1 overflow-auto" data-part="file">
      {ending === "md" ? (
        <div className="flex justify-end px-3 pt-2">
          <Button small look="ghost" onClick={() => setRaw(!raw)}>
            {raw ? "As a page" : "As text"}
          </Button>
        </div>
      ) : null}
      {drawn ? (
        <div className="px-4 pb-4">
          <Suspense fallback={data.text}>
            <Markdown text={data.text} />
          </Suspense>
        </div>
      ) : (
        <pre className="p-4 font-mono text-xs leading-5">
          {language === undefined ? (
            data.text
          ) : (
            <Suspense fallback={data.text}>
              <Highlight text={data.text} language={language} />
            </Suspense>
          )}
        </pre>
      )}
      {data.cut ? (
        <p className="border-t px-4 py-2 text-dim text-xs">
          The first {bytes(MOST_SHOWN)} are shown; the rest can be downloaded.
        </p>
      ) : null}
    </div>
  );
}
