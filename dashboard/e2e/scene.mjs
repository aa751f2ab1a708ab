// A day's work, for the pages to show: sessions in every status that can be had here.
export async function scene(server) {
  const all = [
    ["coder", "pool-leak", "Fix the connection pool leak", { team: "core", repo: "api" }],
    ["coder", "flaky-tests", "Find out why the nightly tests are flaky", { team: "core" }],
    ["talker", "tidy-notes", "Tidy up the notes", { team: "docs", area: "notes" }],
    ["asker", "release-notes", "Write the release notes of 2.4", { team: "docs" }],
    ["asker", "rotate-keys", "Rotate the staging keys", { team: "ops", env: "staging" }],
    ["failer", "model-comparison", "Compare the models on the support set", {}],
    ["keeper", "pairing", "Pairing on the importer", { team: "data" }],
    ["gitter", "greeting", "Refactor the greeting", { team: "core", repo: "site" }],
    ["sleeper", "nightly-import", "Nightly import", { team: "data", env: "prod" }],
    ["sleeper", "migration", "Migrate the billing tables to the new schema", { team: "core" }],
    ["trainer", "fine-tune", "Fine-tune the classifier", { team: "data" }],
  ];
  for (const [agent, id, title, labels] of all) {
    const prompt = id === "flaky-tests" ? "stay on it" : title;
    await server.create(agent, { id, title, labels, prompt });
  }
  await server.create("talker", { id: "someday", title: "Upgrade the base images" });
  const tree = [
    ["migration", "coder", "migration-invoices", "Invoices: write and test the backfill", "stay"],
    ["migration", "talker", "migration-ledger", "Ledger: compare the totals", "Compare the totals"],
    ["migration", "asker", "migration-drop", "Drop the old columns", "drop legacy_amount"],
    ["migration-invoices", "talker", "invoices-fixtures", "Fixtures for the backfill", "Fixtures"],
    ["pool-leak", "talker", "pool-leak-bench", "Measure the pool under load", "Measure"],
  ];
  for (const [parent, agent, id, title, prompt] of tree)
    await server.create(agent, { id, parent, title, prompt });
  for (const prompt of [
    "Then check the indexes that the new columns need",
    "Write a summary for the release notes",
    "Drop what is left of the old schema",
  ])
    await server.api("POST", "/sessions/migration/runs", { prompt });
  await server.status("nightly-import", "running");
  await server.api("POST", "/sessions/nightly-import/stop?wait=20s", { reason: "not tonight" });
  for (const id of ["pool-leak", "tidy-notes", "greeting", "migration-ledger"])
    await server.status(id, "finished");
  for (const id of ["release-notes", "rotate-keys", "migration-drop"])
    await server.status(id, "waiting");
  await server.status("model-comparison", "failed");
  await server.status("pairing", "idle");
}
