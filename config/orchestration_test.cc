#include "config/orchestration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "config/docs.h"
#include "config/operators.h"
#include "config/parser.h"
#include "config/shell_words.h"

namespace tusk::config {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

const fs::path kFolder = TUSK_CONFIG_DIR;

Loaded good(std::string_view text) {
  auto loaded = load_text(text, "dir/t.tsk");
  if (loaded) return std::move(*loaded);
  ADD_FAILURE() << format(loaded.error());
  return {};
}

Orchestration config(std::string_view text) { return good(text).orchestration; }

std::string errors(std::string_view text) {
  auto loaded = load_text(text, "t.tsk");
  return loaded ? "" : format(loaded.error());
}

std::string warnings(std::string_view text) { return format(good(text).warnings); }

std::string read(const fs::path& path) {
  auto text = read_regular_file(path.string(), kMaxFile);
  EXPECT_TRUE(text) << path;
  return text.value_or("");
}

// --- [tuskd] -------------------------------------------------------------------------------------

TEST(Tuskd, RunsOnItsDefaultsWithoutAFile) {
  Orchestration none;
  EXPECT_EQ(to_json(none), to_json(config("")));
  EXPECT_EQ(none.tuskd.endpoint, "tcp://127.0.0.1:7420");
  EXPECT_EQ(none.tuskd.events_out, "tcp://127.0.0.1:7423");
  EXPECT_EQ(none.tuskd.limits.max_body, 64u << 20);
  EXPECT_EQ(none.tuskd.times.spin, Duration(300));
  EXPECT_EQ(none.default_timeout, seconds(5));
  EXPECT_EQ(none.type("any").attempts, 1u);
  EXPECT_EQ(none.compression, Compression::lz4);
  EXPECT_TRUE(language_allowed(none, "cobol"));
}

TEST(Tuskd, TakesEndpointsLimitsAndTimes) {
  Tuskd t = config(
                "[tuskd]\nendpoint: \"tcp://*:9000\"\nipc: ipc:///run/tuskd.sock\nevents_in:\n"
                "http: null\nadvertise: tcp://[::1]:9000\nlog_level: warning\nmax_body: 1MB\n"
                "max_frame: 65536\nmax_sessions: 5\nspin: 0us\nsession_ttl: 2m\n")
                .tuskd;
  EXPECT_EQ(t.endpoint, "tcp://*:9000");
  EXPECT_EQ(t.ipc, "ipc:///run/tuskd.sock");
  EXPECT_EQ(t.events_in, std::nullopt);
  EXPECT_EQ(t.http, std::nullopt);
  EXPECT_EQ(t.advertise, "tcp://[::1]:9000");
  EXPECT_EQ(t.log_level, LogLevel::warning);
  EXPECT_EQ(t.limits.max_body, 1u << 20);
  EXPECT_EQ(t.limits.max_frame, 65536u);
  EXPECT_EQ(t.limits.max_sessions, 5u);
  EXPECT_EQ(t.times.spin, Duration(0));
  EXPECT_EQ(t.times.session_ttl, seconds(120));
}

TEST(Tuskd, MayBeWrittenAsABlockOrAKeyOfTheRoot) {
  for (const char* text :
       {"tuskd { spin: 0us }", "tuskd:\n  spin: 0us\n", "tuskd >\nspin: 0us\n<"}) {
    EXPECT_EQ(config(text).tuskd.times.spin, Duration(0)) << text;
  }
  EXPECT_THAT(errors("tuskd { spin: 0us }\n[tuskd]\n"), HasSubstr("in line 1 already"));
}

TEST(Tuskd, PathsAreRelativeToTheFile) {
  Tuskd t = config("[tuskd]\nstate: state\nlog: ../log/tuskd.log").tuskd;
  EXPECT_EQ(t.state, "dir/state");
  EXPECT_EQ(t.log, "log/tuskd.log");
  EXPECT_EQ(config("[tuskd]\nstate: /var/lib/tuskd\n").tuskd.state, "/var/lib/tuskd");
  EXPECT_EQ(config("").tuskd.log, "stderr");
}

TEST(Tuskd, KeepsEveryBound) {
  EXPECT_THAT(errors("[tuskd]\nmax_frame: 1KB"),
              HasSubstr("t.tsk:2:12: [tuskd] max_frame: expected a size from 64KB to 1GB, found "
                        "\"1KB\""));
  EXPECT_THAT(errors("[tuskd]\nmax_records: 0"), HasSubstr("from 1 to 1000000, found 0"));
  EXPECT_THAT(errors("[tuskd]\nmax_records: 1.5"), HasSubstr("a whole number"));
  EXPECT_THAT(errors("[tuskd]\nspin: 100"), HasSubstr("a duration has a unit"));
  EXPECT_THAT(errors("[tuskd]\nheartbeat: 1ms"), HasSubstr("from 100ms to 10m"));
  EXPECT_THAT(errors("[tuskd]\nlog_level: inof"), HasSubstr("did you mean \"info\"?"));
  EXPECT_THAT(errors("[tuskd]\nlog: 5"), HasSubstr("put it in quotes"));
  for (const char* odd : {"127.0.0.1:1", "tcp://:80", "tcp://h", "tcp://h:0", "tcp://h:65536",
                          "tcp://h:x", "tcp://h:+1", "tcp://a b:80", "tcp://::1:80", "ipc://"}) {
    EXPECT_THAT(errors("[tuskd]\nendpoint: '" + std::string(odd) + "'"), HasSubstr("endpoint"))
        << odd;
  }
}

TEST(Tuskd, ChecksKeysAgainstEachOther) {
  EXPECT_THAT(errors("[tuskd]\nmax_memory: 32MB"),
              HasSubstr("max_memory is 32MB; expected at least max_body, which is 64MB"));
  EXPECT_THAT(errors("[tuskd]\nretry_backoff: 1m"), HasSubstr("at least retry_backoff"));
  EXPECT_THAT(errors("[tuskd]\nendpoint: tcp://127.0.0.1:7422"),
              HasSubstr("t.tsk:2:11: [tuskd] events_in and endpoint are both"));
  EXPECT_THAT(errors("[tuskd]\nmax_types: 1\n[types]\na:\nb:\n"), HasSubstr("names 2 task types"));
  EXPECT_THAT(errors("[tuskd]\nmax_topics: 1\n[topics]\na:\nb:\n"), HasSubstr("names 2 topics"));
}

TEST(Tuskd, ReadsNumbersFromTheEnvironment) {
  ::setenv("TUSK_CONFIG_TEST", "123", 1);
  EXPECT_EQ(config("[tuskd]\nmax_records: @env(\"TUSK_CONFIG_TEST\")").tuskd.limits.max_records,
            123u);
  EXPECT_THAT(errors("[tuskd]\nmax_records: \"123\""), HasSubstr("found \"123\""));
  ::unsetenv("TUSK_CONFIG_TEST");
}

// --- [workers] -----------------------------------------------------------------------------------

TEST(Workers, HaveACommandAndALanguage) {
  Orchestration o = config(
      "[workers]\npy:\n  language: python\n  command: python3 -u 'my worker.py'\n"
      "cc:\n  language: rust\n  command: [\"./engine\", \"--fast\"]\n  directory: bin\n"
      "  environment: {A: \"1\", B: two}\n  instances: 3\n  slots: 4\n  pool: gpu\n");
  ASSERT_EQ(o.workers.size(), 2u);
  const Worker* py = o.workers.find("py");
  EXPECT_EQ(py->language, "python");
  EXPECT_THAT(py->command, ElementsAre("python3", "-u", "my worker.py"));
  EXPECT_EQ(py->directory, "dir");
  EXPECT_EQ(py->instances, 1u);
  EXPECT_EQ(py->slots, std::nullopt);
  EXPECT_EQ(py->pool, "python");
  const Worker* cc = o.workers.find("cc");
  EXPECT_EQ(cc->language, "cpp");
  EXPECT_THAT(cc->command, ElementsAre("./engine", "--fast"));
  EXPECT_EQ(cc->directory, "dir/bin");
  EXPECT_EQ(*cc->environment.find("B"), "two");
  EXPECT_EQ(cc->instances, 3u);
  EXPECT_EQ(cc->slots, 4u);
  EXPECT_EQ(cc->pool, "gpu");
}

TEST(Workers, HaveLabelsAndTypesNeedThem) {
  Orchestration o = config(
      "[workers]\npy:\n  language: python\n  command: x\n  labels: {gpu: 2, region: \"eu\"}\n"
      "[types]\ntrain:\n  requires: {region: \"eu\", disk: 5}\n  prefers: {rack: \"a\"}\n"
      "  consumes: {gpu: 1}\n");
  EXPECT_EQ(*o.workers.find("py")->labels.find("gpu"), (Label{"", 2}));
  EXPECT_EQ(*o.workers.find("py")->labels.find("region"), (Label{"eu", 0}));
  EXPECT_EQ(*o.type("train").required.find("disk"), (Label{"", 5}));
  EXPECT_EQ(*o.type("train").prefers.find("rack"), (Label{"a", 0}));
  EXPECT_EQ(*o.type("train").consumes.find("gpu"), 1u);
  EXPECT_THAT(errors("[types]\na:\n  consumes: {gpu: two}\n"),
              HasSubstr("t.tsk:3:19: [types] a.consumes.gpu: expected a whole number from 1"));
  EXPECT_THAT(errors("[types]\na:\n  consumes: {gpu: 0}\n"), HasSubstr("found 0"));
  EXPECT_THAT(errors("[types]\na:\n  requires: {gpu: -1}\n"),
              HasSubstr("a text of 1 to 255 bytes"));
  std::string many = "[types]\na:\n  requires:\n";
  for (int i = 0; i < 17; ++i) many += "    k" + std::to_string(i) + ": 1\n";
  EXPECT_THAT(errors(many), HasSubstr("the type \"a\" requires 17 labels; there may be 16"));
}

TEST(Workers, SayWhatIsMissingOrOdd) {
  std::string all = errors(
      "[workers]\na:\n  language: pyhton\nb:\n  command: x | y\n"
      "c:\n  language: go\n  command: \"\"\n  instances: 1001\n");
  EXPECT_THAT(all, HasSubstr("[workers] a.language: expected python, javascript, go or cpp, found "
                             "\"pyhton\": did you mean python?"));
  EXPECT_THAT(all, HasSubstr("[workers] a needs the key \"command\""));
  EXPECT_THAT(all, HasSubstr("[workers] b needs the key \"language\""));
  EXPECT_THAT(all, HasSubstr("no shell reads this"));
  EXPECT_THAT(all, HasSubstr("there is no program to start"));
  EXPECT_THAT(all, HasSubstr("from 0 to 1000, found 1001"));
}

TEST(Workers, OfALanguageThatIsNotListedAreRefused) {
  EXPECT_THAT(errors("[orchestration]\nmaster_language: cpp\nworker_languages: [python, rust]\n"
                     "[workers]\na:\n  language: go\n  command: x\n"),
              HasSubstr("t.tsk:6:13: [workers] a.language: go is neither master_language (cpp) nor "
                        "in worker_languages (python, cpp)"));
  Orchestration o = config("[orchestration]\nmaster_language: rust\nworker_languages: [\"go\"]\n");
  EXPECT_TRUE(language_allowed(o, "cpp"));
  EXPECT_TRUE(language_allowed(o, "rust"));
  EXPECT_TRUE(language_allowed(o, "go"));
  EXPECT_FALSE(language_allowed(o, "python"));
}

TEST(ShellWords, AreCutAsAShellDoes) {
  EXPECT_THAT(*shell_words("  a 'b c'\"d\"\\ e  \"f\\\"g\\\\h\\i\" ''"),
              ElementsAre("a", "b cd e", "f\"g\\h\\i", ""));
  EXPECT_THAT(*shell_words(" "), IsEmpty());
  for (const char* odd :
       {"a | b", "a > b", "$HOME/x", "a; b", "a && b", "'a", "\"a", "a\\", "`a`"}) {
    EXPECT_FALSE(shell_words(odd)) << odd;
  }
  EXPECT_THAT(*shell_words("'a|b' \"$c\""), ElementsAre("a|b", "$c"));
}

// --- types, topics, stages -----------------------------------------------------------------------

TEST(Types, AreBoundToPools) {
  Orchestration o = config(
      "[task_distribution]\npython_tasks:\n- \"train\"\nrust_tasks: [\"render\"]\ngo_tasks:\n"
      "[types]\nrender:\n  attempts: 7\nresize:\n  pool: gpu\nplain:\n");
  EXPECT_EQ(o.type("train").pool, "python");
  EXPECT_EQ(o.type("render").pool, "cpp");
  EXPECT_EQ(o.type("render").attempts, 7u);
  EXPECT_EQ(o.type("resize").pool, "gpu");
  EXPECT_EQ(o.type("plain").pool, std::nullopt);
  EXPECT_EQ(o.type("unnamed").pool, std::nullopt);
  EXPECT_EQ(o.types.size(), 4u);
}

TEST(Types, HaveOnePool) {
  EXPECT_THAT(errors("[task_distribution]\ngo_tasks: [a]\ncpp_tasks: [a]\n"),
              HasSubstr("t.tsk:3:13: the type \"a\" is bound to pool go in line 2 already"));
  EXPECT_THAT(errors("[task_distribution]\ngo_tasks: [a]\n[types]\na:\n  pool: gpu\n"),
              HasSubstr("t.tsk:5:9: the type \"a\" is bound to pool go in line 2 already"));
  EXPECT_THAT(errors("[task_distribution]\npython: [a]\n"),
              HasSubstr("names such as python_tasks"));
}

TEST(Types, TakeWhatTheyDoNotSayFromTheGeneralSettings) {
  Orchestration o = config(
      "[tuskd]\nmax_waiting: 50\n[orchestration]\nload_balancing: least_connections\n"
      "[ipc_patterns]\nrequest_reply:\n  timeout_ms: 200\n  retry_attempts: 3\n"
      "[types]\na:\nb:\n  attempts: 1\n  max_waiting: 9\n  unserved: wait\n"
      "  load_balancing: round_robin\n  timeout: 5m\n  priority: critical\n  durable: true\n");
  EXPECT_EQ(o.default_timeout, milliseconds(200));
  EXPECT_EQ(o.retry_attempts, 3u);
  for (const char* name : {"a", "unnamed"}) {
    EXPECT_EQ(o.type(name).attempts, 4u);
    EXPECT_EQ(o.type(name).max_waiting, 50u);
    EXPECT_EQ(o.type(name).unserved, Unserved::error);
    EXPECT_EQ(o.type(name).load_balancing, LoadBalancing::least_connections);
  }
  EXPECT_EQ(o.type("b").attempts, 1u);
  EXPECT_EQ(o.type("b").max_waiting, 9u);
  EXPECT_EQ(o.type("b").unserved, Unserved::wait);
  EXPECT_EQ(o.type("b").load_balancing, LoadBalancing::round_robin);
  EXPECT_EQ(o.type("b").timeout, seconds(300));
  EXPECT_EQ(o.type("b").priority.level, 20);
  EXPECT_TRUE(o.type("b").durable);
}

TEST(Messages, GovernTheirOwnNameAndThoseThatNameThem) {
  Orchestration o = config(
      "[message_types]\nimage:\n  priority: high\nalert:\n  routing: fanout\n"
      "[types]\nresize:\n  message: image\n[topics]\nnews:\n  message: alert\n");
  EXPECT_EQ(o.type("image").message, "image");
  EXPECT_EQ(o.type("image").priority.level, 10);
  EXPECT_EQ(o.type("resize").message, "image");
  EXPECT_EQ(o.type("resize").priority.level, 10);
  EXPECT_FALSE(o.types.contains("alert"));
  ASSERT_EQ(o.topics.size(), 2u);
  EXPECT_EQ(o.topics[0].name, "news");
  EXPECT_EQ(o.topics[0].message, "alert");
  EXPECT_EQ(o.topics[1].name, "alert");
  EXPECT_EQ(o.topics[1].message, "alert");
}

TEST(Messages, GovernHandlersOfStages) {
  Orchestration o = config(
      "[message_types]\nclean:\nimage:\nnews:\n  routing: fanout\n[types]\nresize:\n  message: "
      "image\n[data_pipeline]\na:\n  function: clean\nb:\n  function: resize\nc:\n  function: "
      "news\nd:\n");
  EXPECT_EQ(o.stages[0].message, "clean");
  EXPECT_EQ(o.stages[1].message, "image");
  EXPECT_EQ(o.stages[2].message, "news");
  EXPECT_EQ(o.stages[3].message, std::nullopt);
}

// A type that only a worker announces, and one that the file has for another reason.
TEST(Messages, OfATopicGovernTheTaskTypeOfTheSameNameToo) {
  Orchestration o =
      config("[message_types]\na:\n  routing: fanout\nb:\n  routing: fanout\n[types]\nb:\n");
  EXPECT_EQ(o.message_of("a"), "a");
  EXPECT_EQ(o.message_of("b"), "b");
  EXPECT_EQ(o.message_of("c"), std::nullopt);
}

TEST(Messages, RoutingIsTheLoadBalancingUnlessTheTypeSaysAnother) {
  Orchestration o = config(
      "[orchestration]\nload_balancing: least_connections\n[message_types]\na:\n  routing: "
      "round_robin\nb:\n  routing: least_connections\nc:\n  routing: round_robin\nd:\n"
      "[types]\nc:\n  load_balancing: least_connections\ne:\n  message: a\na2:\n");
  EXPECT_EQ(o.type("a").load_balancing, LoadBalancing::round_robin);
  EXPECT_EQ(o.type("b").load_balancing, LoadBalancing::least_connections);
  EXPECT_EQ(o.type("c").load_balancing, LoadBalancing::least_connections);
  EXPECT_EQ(o.type("d").load_balancing, LoadBalancing::least_connections);
  EXPECT_EQ(o.type("e").load_balancing, LoadBalancing::round_robin);
  EXPECT_EQ(o.type("a2").load_balancing, LoadBalancing::least_connections);
}

TEST(Messages, EachMistakeIsNamedAtItsPlace) {
  EXPECT_THAT(errors("[message_types]\na:\n  format: xml\n"),
              HasSubstr("3:11: [message_types] a.format: expected json, msgpack or protobuf, found "
                        "\"xml\""));
  EXPECT_THAT(errors("[message_types]\na:\n  routing: direct\n"),
              HasSubstr("3:12: [message_types] a.routing: expected fanout, round_robin, "
                        "least_connections or sticky, found \"direct\""));
  EXPECT_THAT(errors("[message_types]\na:\n  format: json\n  validation: true\n"),
              HasSubstr("4:15: [message_types] a.validation needs a schema"));
  EXPECT_THAT(errors("[message_types]\na:\n  schema: \"{}\"\n"),
              HasSubstr("3:11: [message_types] a.schema needs to know what bodies are written in"));
  EXPECT_THAT(errors("[message_types]\na:\n  format: json\n  schema: \"{}\"\n  message: M\n"),
              HasSubstr("5:12: [message_types] a.message names a message of a .proto file"));
  EXPECT_THAT(
      errors("[message_types]\nimage:\n[types]\na:\n  message: imaeg\n"),
      HasSubstr("5:12: [types] a.message: \"imaeg\" is no entry of [message_types]; did you "
                "mean \"image\"?"));
  EXPECT_THAT(errors("[topics]\na:\n  message: image\n"),
              HasSubstr("3:12: [topics] a.message: \"image\" is no entry of [message_types]"));
}

TEST(Messages, KnowTheFileThatTheirSchemaWasReadFrom) {
  auto loaded = load_text(
      "[message_types]\na:\n  format: json\n  schema: \"@file.read('schemas/data_request.json')\"\n"
      "b:\n  format: json\n  schema: \"{}\"\n",
      std::string(TUSK_CONFIG_DIR) + "/testdata/t.tsk");
  ASSERT_TRUE(loaded) << format(loaded.error());
  const Message& a = loaded->orchestration.messages.find("a")->second;
  EXPECT_EQ(a.schema_file, "schemas/data_request.json");
  EXPECT_EQ(a.schema_at.place.line, 4);
  EXPECT_EQ(loaded->orchestration.messages.find("b")->second.schema_file, "");
}

TEST(Messages, StickyIsReadAndHasNoEffectYet) {
  EXPECT_THAT(warnings("[message_types]\na:\n  routing: sticky\n  priority: low\n"),
              HasSubstr("without effect in this version:\n  [message_types] a.routing: sticky\n"));
}

TEST(Topics, ComeFromThreePlacesEachOnce) {
  Orchestration o = config(
      "[ipc_patterns]\npublish_subscribe:\n  topics: [b, a, b]\n[topics]\na:\n"
      "[message_types]\nc:\n  routing: fanout\nd:\n  routing: round_robin\n");
  std::string names;
  for (const Topic& topic : o.topics) names += topic.name;
  EXPECT_EQ(names, "abc");
}

TEST(Stages, AreThoseOfTheDataPipelineInOrder) {
  Orchestration o = config(
      "[ipc_patterns]\npipeline:\n  stages: [x]\n[data_pipeline]\nload:\n  language: rust\n"
      "  function: stream\n  throughput: 100k_events_per_second\nstore:\n");
  ASSERT_EQ(o.stages.size(), 2u);
  EXPECT_EQ(o.stages[0].name, "load");
  EXPECT_EQ(o.stages[0].language, "cpp");
  EXPECT_EQ(o.stages[0].function, "stream");
  EXPECT_EQ(o.stages[0].settings.map().find("throughput")->text(), "100k_events_per_second");
  EXPECT_DOUBLE_EQ(o.sections.data_pipeline.find("load")->throughput->per_second, 100'000);
  EXPECT_EQ(o.stages[1].name, "store");
  EXPECT_EQ(o.stages[1].function, "store");
  EXPECT_TRUE(o.stages[1].settings.is_null());
}

TEST(Stages, AreThoseOfThePatternOtherwise) {
  Orchestration o = config("[ipc_patterns]\npipeline:\n  stages: [\"in\", \"out\"]\n");
  ASSERT_EQ(o.stages.size(), 2u);
  EXPECT_EQ(o.stages[1].name, "out");
  EXPECT_THAT(errors("[ipc_patterns]\npipeline:\n  stages: [a, a]\n"),
              HasSubstr("stands here twice"));
}

TEST(Names, WrongOnesByTheThousandInOneLineCostLittle) {
  std::string same = "[ipc_patterns]\npipeline:\n  stages: [";
  std::string numbers = "[ipc_patterns]\npipeline:\n  stages: [";
  for (int i = 0; i < 90'000; ++i) same += "a,", numbers += "1,";
  EXPECT_THAT(errors(same + "]"), HasSubstr("more errors are not shown"));
  EXPECT_THAT(errors(numbers + "]"), HasSubstr("more errors are not shown"));
}

TEST(Ipc, TakesOnlyWhatThereIs) {
  Orchestration o =
      config("[ipc_config]\nprotocol: none\nserialization: none\ncompression: none\n");
  EXPECT_EQ(o.compression, Compression::none);
  EXPECT_EQ(o.serialization, Serialization::none);
  EXPECT_EQ(o.tuskd.events_in, std::nullopt);
  EXPECT_EQ(o.tuskd.pipeline_out, std::nullopt);
  EXPECT_EQ(o.tuskd.endpoint, "tcp://127.0.0.1:7420");
  std::string all = errors(
      "[ipc_config]\nprotocol: grpc\nserialization: json\ncompression: lz5\n"
      "[ipc_patterns]\nrequest_reply:\n  pattern: dealer_router\n");
  EXPECT_THAT(all, HasSubstr("expected zeromq or none, found \"grpc\""));
  EXPECT_THAT(all, HasSubstr("expected msgpack or none, found \"json\""));
  EXPECT_THAT(all, HasSubstr("expected lz4 or none, found \"lz5\"; did you mean \"lz4\"?"));
  EXPECT_THAT(all, HasSubstr("expected \"req_rep\", found \"dealer_router\""));
}

// --- names, warnings, printing, reload -----------------------------------------------------------

TEST(Names, UnknownOnesAreErrorsWithTheNearest) {
  std::string all = errors(
      "x: 1\n[orchestraton]\n[types]\na:\n  atempts: 1\n[ipc_patterns]\n"
      "pipeline:\n  stage: []\n[wasm_config]\nlto: \"yes\"\n[metrics]\na: 5\n"
      "[c_functions]\ng: text\n[profiling]\n[tuskd]\n");
  EXPECT_THAT(all, HasSubstr("the key \"x\" stands in no section"));
  EXPECT_THAT(all, HasSubstr("unknown section [orchestraton]; did you mean \"orchestration\"?"));
  EXPECT_THAT(all, HasSubstr("unknown key \"atempts\" in [types] a; did you mean \"attempts\"?"));
  EXPECT_THAT(all, HasSubstr("unknown key \"stage\" in [ipc_patterns] pipeline; did you mean"));
  EXPECT_THAT(all, HasSubstr("[wasm_config] lto: expected true or false, found \"yes\""));
  EXPECT_THAT(all, HasSubstr("[metrics] a: expected a list of texts, found 5"));
  EXPECT_THAT(all, HasSubstr("[c_functions] g: expected keys below it, found \"text\""));
}

TEST(Warnings, ListAllThatHasNoEffectAtOnce) {
  EXPECT_EQ(
      warnings("[tuskd]\nhttp: null\nspin: 1ms\n[types]\na:\n  durable: true\n"
               "[wasm_optimization]\nruntime:\n  allocator: x\n[metrics]\ng: [m]\n[profiling]\n"),
      "dir/t.tsk: accepted, but without effect in this version:\n"
      "  [tuskd] http\n"
      "  [types] a.durable\n"
      "  [wasm_optimization] runtime.allocator\n"
      "  [metrics] g\n");
  EXPECT_EQ(warnings("[tuskd]\nspin: 1ms\n"), "");
}

TEST(Warnings, NameReferencesThatLeadNowhereIfTheirSectionIsThere) {
  std::string both = warnings(
      "[microservices]\nuser:\n[service_config]\nuser:\n"
      "  dependencies: [\"usr\", \"database\"]\n");
  EXPECT_THAT(both, HasSubstr("dir/t.tsk:5:18: [service_config] user.dependencies: \"usr\" is no "
                              "entry of [microservices]; did you mean \"user\"?"));
  EXPECT_THAT(both, HasSubstr("\"database\" is no entry"));
  EXPECT_THAT(warnings("[service_config]\nuser:\n  dependencies: [\"database\"]\n"),
              Not(HasSubstr("is no entry")));
}

TEST(Warnings, AreNotMoreThanAPersonReads) {
  std::string many = "[microservices]\n[service_config]\na:\n  dependencies:\n";
  for (int i = 0; i < 1000; ++i) many += "  - x" + std::to_string(i) + "\n";
  EXPECT_EQ(good(many).warnings.size(), 21u);
}

TEST(Print, ShowsEverySectionAndWhatFollows) {
  Json json =
      Json::parse(to_json(config("[task_distribution]\ngo_tasks: [a]\n"
                                 "[wasm_modules]\nm:\n  memory_size: 16MB\n"
                                 "[data_pipeline]\ns:\n  language: rust\n"
                                 "  throughput: 100k_events_per_second\n")));
  EXPECT_EQ(json.size(), 4u + 48u + 1u);
  EXPECT_EQ(json["tuskd"]["max_body"], 64 << 20);
  EXPECT_EQ(json["tuskd"]["session_ttl"], "1m");
  EXPECT_EQ(json["wasm_modules"]["m"]["memory_size"], 16 << 20);
  EXPECT_EQ(json["data_pipeline"]["s"]["language"], "cpp");
  EXPECT_EQ(json["data_pipeline"]["s"]["throughput"], 100000);
  EXPECT_EQ(json["resolved"]["types"]["a"]["pool"], "go");
  EXPECT_EQ(json["resolved"]["stages"][0]["name"], "s");
}

TEST(Reload, NamesAndKeepsWhatOnlyARestartChanges) {
  Orchestration running = config("[tuskd]\nendpoint: tcp://*:9000\nmax_body: 1MB\n");
  Orchestration fresh = config(
      "[tuskd]\nendpoint: tcp://*:9001\nevents_in: null\nmax_body: 2MB\n"
      "[ipc_config]\ncompression: none\n");
  EXPECT_THAT(changed_restart_only(running, fresh),
              ElementsAre("[tuskd] endpoint", "[tuskd] events_in"));
  EXPECT_EQ(fresh.tuskd.endpoint, "tcp://*:9001");
  EXPECT_THAT(keep_restart_only(running, fresh),
              ElementsAre("[tuskd] endpoint", "[tuskd] events_in"));
  EXPECT_EQ(fresh.tuskd.endpoint, "tcp://*:9000");
  EXPECT_EQ(fresh.tuskd.events_in, running.tuskd.events_in);
  EXPECT_EQ(fresh.tuskd.limits.max_body, 2u << 20);
  EXPECT_THAT(changed_restart_only(running, fresh), IsEmpty());
}

// --- files ---------------------------------------------------------------------------------------

TEST(Files, ThatCannotBeReadAreErrors) {
  auto none = load("no/such.tsk");
  ASSERT_FALSE(none);
  EXPECT_EQ(format(none.error()), "no/such.tsk: does not exist\n");
  auto folder = load(kFolder.string());
  ASSERT_FALSE(folder);
  EXPECT_THAT(format(folder.error()), HasSubstr("is no regular file"));
}

TEST(Files, EachBlockOfTheGuideLoads) {
  std::size_t blocks = 0;
  for (const auto& entry : fs::directory_iterator(kFolder / "testdata")) {
    if (entry.path().extension() != ".tsk") continue;
    ++blocks;
    auto loaded = load(entry.path().string());
    EXPECT_TRUE(loaded) << format(loaded.error());
  }
  EXPECT_EQ(blocks, 26u);
}

// Every value of the file is in the typed configuration, as itself or as what it stands for.
void expect_within(const Json& part, const Json& whole, const std::string& path) {
  if (part.is_object()) {
    for (const auto& [name, value] : part.items()) {
      ASSERT_TRUE(whole.contains(name)) << path << "." << name;
      expect_within(value, whole[name], path + "." + name);
    }
  } else if (part == "rust") {
    EXPECT_EQ(whole, "cpp") << path;
  } else if (path.ends_with(".memory_size")) {
    EXPECT_EQ(whole, parse_bytes(part.get<std::string>())->count) << path;
  } else if (path.ends_with(".throughput")) {
    EXPECT_EQ(whole, parse_rate(part.get<std::string>())->per_second) << path;
  } else {
    EXPECT_EQ(part, whole) << path;
  }
}

TEST(Files, AllBlocksAreTypedValueForValue) {
  auto loaded = load((kFolder / "testdata/all.tsk").string());
  ASSERT_TRUE(loaded) << format(loaded.error());
  Json typed = Json::parse(to_json(loaded->orchestration));
  for (const auto& entry : fs::directory_iterator(kFolder / "testdata")) {
    if (entry.path().extension() != ".json") continue;
    expect_within(Json::parse(read(entry.path())), typed, entry.path().stem().string());
  }
  const Orchestration& o = loaded->orchestration;
  EXPECT_EQ(o.master_language, "cpp");
  EXPECT_EQ(o.types.size(), 12u + 2u);
  EXPECT_EQ(o.type("ml_training").pool, "python");
  EXPECT_EQ(o.type("ml_training").attempts, 4u);
  EXPECT_EQ(o.topics.size(), 4u);
  EXPECT_EQ(o.stages.size(), 4u);
  EXPECT_EQ(o.stages[0].function, "stream_processing");
  EXPECT_EQ(loaded->warnings.size(), 3u) << format(loaded->warnings);
}

// testdata/errors/NAME.tsk and beside it NAME.txt, what a person is shown.
TEST(Files, EachMistakeIsShownAsExpected) {
  std::size_t cases = 0;
  for (const auto& entry : fs::directory_iterator(kFolder / "testdata/errors")) {
    if (entry.path().extension() != ".tsk") continue;
    ++cases;
    fs::path path = entry.path();
    auto loaded = load_text(read(path), path.string());
    std::string shown = loaded ? "no errors\n" : format(loaded.error());
    std::string folder = path.parent_path().string() + "/";
    for (std::size_t at = 0; (at = shown.find(folder, at)) != std::string::npos;) {
      shown.erase(at, folder.size());
    }
    fs::path text = path;
    EXPECT_EQ(shown, read(text.replace_extension(".txt"))) << path;
  }
  EXPECT_GE(cases, 10u);
}

TEST(Files, TheExampleRuns) {
  auto loaded = load((kFolder / "orchestration.tsk").string());
  ASSERT_TRUE(loaded) << format(loaded.error());
  EXPECT_THAT(loaded->orchestration.types, Not(IsEmpty()));
  EXPECT_THAT(loaded->orchestration.topics, Not(IsEmpty()));
  EXPECT_THAT(loaded->orchestration.stages, Not(IsEmpty()));
  EXPECT_TRUE(fs::path(loaded->orchestration.tuskd.state.value()).is_absolute());
}

// --- documents -----------------------------------------------------------------------------------

TEST(Documents, KeysMdIsWhatTheTablesSay) {
  EXPECT_EQ(read(kFolder / "KEYS.md"), keys_reference())
      << "write it again: tusk_config_docs > config/KEYS.md";
}

// What is fenced as `tusk` in LANGUAGE.md parses.
TEST(Documents, LanguageMdsExamplesParse) {
  std::string text = read(kFolder / "LANGUAGE.md");
  const std::string fence = "```tusk\n";
  std::size_t examples = 0;
  for (std::size_t at = 0; (at = text.find(fence, at)) != std::string::npos; ++examples) {
    at += fence.size();
    std::string example = text.substr(at, text.find("```\n", at) - at);
    auto document = parse(example, "example", real_surroundings(""));
    EXPECT_TRUE(document) << example << format(document.error());
  }
  EXPECT_GE(examples, 6u);
}

TEST(Documents, LanguageMdListsTheRestartOnlyKeys) {
  std::string text = read(kFolder / "LANGUAGE.md");
  for (const std::string& key : restart_only_keys()) {
    EXPECT_THAT(text, HasSubstr("`" + key + "`")) << "not in LANGUAGE.md";
  }
}

}  // namespace
}  // namespace tusk::config
