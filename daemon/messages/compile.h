// From the entries of [message_types] to those who check bodies.
//
//   auto checkers = compile(loaded->orchestration);
//   if (!checkers) { std::cerr << format(checkers.error()); return 2; }
//   Broker broker({.config = config, .checkers = *checkers, ...}, now);
//
// Schemas are JSON Schema for bodies in JSON and msgpack, and protobuf; what of them is carried out
// is in SPEC.md, "Message types". Nothing is fetched and no file is read.
#pragma once

#include "config/orchestration.h"
#include "daemon/core/body_checker.h"

namespace tusk::messages {

// Compiles every schema; those of entries without `validation` too, so that their mistakes are
// known. Each error stands at the key `schema` or `message` and says the place in the schema where
// that is known. Throws nothing but std::bad_alloc.
config::Result<core::BodyCheckers> compile(const config::Orchestration& config);

}  // namespace tusk::messages
