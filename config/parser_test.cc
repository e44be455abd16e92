#include "config/parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>

namespace tusk::config {
namespace {

using Json = nlohmann::ordered_json;
using ::testing::HasSubstr;

// A world of three variables and two files, at noon of 2025-03-04.
Surroundings small_world() {
  Surroundings around;
  around.environment = [](const std::string& name) -> std::optional<std::string> {
    static const std::map<std::string, std::string> variables = {
        {"HOME", "/home/ada"}, {"DEBUG", "true"}, {"BROKEN", "\xFF"}};
    auto it = variables.find(name);
    return it == variables.end() ? std::nullopt : std::optional(it->second);
  };
  around.read_file = [](const std::string& path) -> tl::expected<std::string, std::string> {
    if (path == "a.txt") return std::string("line one\nline two\n");
    if (path == "a.json") return std::string(R"({"n": [1, 2.5, null], "t": "x"})");
    if (path == "deep.json") return std::string(1000, '[') + std::string(1000, ']');
    if (path == "twice.json") return std::string(R"({"a": 1, "a": 2})");
    if (path == "big.json") return std::string("18446744073709551616");
    return tl::unexpected<std::string>("does not exist");
  };
  around.now = std::chrono::system_clock::from_time_t(1741089600);
  return around;
}

Result<Document> read(std::string_view text) { return parse(text, "t.tsk", small_world()); }

Json tree(std::string_view text) {
  auto document = read(text);
  if (!document) {
    ADD_FAILURE() << format(document.error());
    return {};
  }
  return Json::parse(to_json(document->root));
}

// The value of `v: <text>` in a section.
Json value(std::string_view text) {
  Json json = tree("[s]\nv: " + std::string(text));
  return json.is_object() ? json["s"]["v"] : Json();
}

std::string errors(std::string_view text) {
  auto document = read(text);
  return document ? "" : format(document.error());
}

Json operator""_json_tree(const char* text, std::size_t size) {
  return Json::parse(std::string(text, size));
}

// --- structure -----------------------------------------------------------------------------------

TEST(Structure, SectionsKeysAndIndentation) {
  EXPECT_EQ(
      tree("[a]\nx: 1\ny = two\nz:\n  w: 3\n  u:\n    v: 4\n  t: 5\n\n[b]\n"),
      R"({"a": {"x": 1, "y": "two", "z": {"w": 3, "u": {"v": 4}, "t": 5}}, "b": {}})"_json_tree);
}

TEST(Structure, ASectionMayIndentAllOfItsLines) {
  EXPECT_EQ(tree("[a]\n  x: 1\n  y:\n    z: 2\n[b]\nx: 1"),
            R"({"a": {"x": 1, "y": {"z": 2}}, "b": {"x": 1}})"_json_tree);
}

TEST(Structure, KeysOutsideOfSectionsAreKeysOfTheRoot) {
  EXPECT_EQ(tree("x: 1\n[a]\ny: 2"), R"({"x": 1, "a": {"y": 2}})"_json_tree);
}

TEST(Structure, AKeyWithNothingBelowIsNull) {
  EXPECT_EQ(tree("[a]\nx:\ny: # nothing\n\n   \nz:;\n"),
            R"({"a": {"x": null, "y": null, "z": null}})"_json_tree);
}

TEST(Structure, BlankLinesAndCommentsNeverCountForIndentation) {
  EXPECT_EQ(tree("[a]\nx:\n  y: 1\n \n# comment\n      # another\n\t# tabbed\n  z: 2 # end\n"),
            R"({"a": {"x": {"y": 1, "z": 2}}})"_json_tree);
}

TEST(Structure, ListsStandAtTheirKeysIndentationOrDeeper) {
  EXPECT_EQ(tree("[a]\nx:\n- 1\n- two\ny:\n    - 3\n    - four\nz: 5"),
            R"({"a": {"x": [1, "two"], "y": [3, "four"], "z": 5}})"_json_tree);
}

TEST(Structure, ItemsMayBeMapsListsAndNothing) {
  EXPECT_EQ(tree("[a]\nx:\n- name: p\n  size: 1\n  of:\n    k: v\n- name: q\n-\n- - 1\n  - 2\n"
                 "-\n  - 3\n-\n  k: 4\n- http://x:80/\n- {k: 5}\n- [6]\n- a=b\n- key = c\n"),
            R"({"a": {"x": [{"name": "p", "size": 1, "of": {"k": "v"}}, {"name": "q"}, null, [1, 2],
               [3], {"k": 4}, "http://x:80/", {"k": 5}, [6], "a=b", {"key": "c"}]}})"_json_tree);
}

TEST(Structure, KeysMayBeQuoted) {
  EXPECT_EQ(tree("[a]\n\"x y\": 1\n'z: $@\\': 2\nimage/resize.v2-b: 3\n7up: 4\n"),
            R"({"a": {"x y": 1, "z: $@\\": 2, "image/resize.v2-b": 3, "7up": 4}})"_json_tree);
}

TEST(Structure, BlocksBelongToTheOpenSection) {
  EXPECT_EQ(tree("[a]\nx: 1\ncache {\n  driver: redis;\n  inner >\n  deep: 2\n  <\n}\n"
                 "db >\n    host: \"h\"\n<\nempty {\n}\none { k: 1, l: 2 }\ny: 3\n"),
            R"({"a": {"x": 1, "cache": {"driver": "redis", "inner": {"deep": 2}},
               "db": {"host": "h"}, "empty": {}, "one": {"k": 1, "l": 2}, "y": 3}})"_json_tree);
}

TEST(Structure, BlocksHaveLevelsOfTheirOwn) {
  EXPECT_EQ(tree("[a]\nk:\n    b {\nx: 1\ny:\n  z: 2\n}\n    c: 3\n"),
            R"({"a": {"k": {"b": {"x": 1, "y": {"z": 2}}, "c": 3}}})"_json_tree);
}

TEST(Structure, ABlockOpensOnlyWithoutAColon) {
  EXPECT_EQ(tree("[a]\nx: a list >\ny: {\n  k: 1\n}\n"),
            R"({"a": {"x": "a list >", "y": {"k": 1}}})"_json_tree);
}

TEST(Structure, ATrailingSemicolonIsAllowed) {
  EXPECT_EQ(tree("[a];\nx: 1;\ny: \"t\"; # c\nz: bare text ;\nl: [1, 2];\n"),
            R"({"a": {"x": 1, "y": "t", "z": "bare text", "l": [1, 2]}})"_json_tree);
}

TEST(Structure, WindowsLineEndsAndAByteOrderMarkAreTaken) {
  EXPECT_EQ(tree("\xEF\xBB\xBF[a]\r\nx: 1\r\nt: \"\"\"\r\nq\r\n\"\"\"\r\n"),
            R"({"a": {"x": 1, "t": "q\n"}})"_json_tree);
}

TEST(Structure, AnEmptyFileIsAnEmptyMap) {
  EXPECT_EQ(tree(""), Json::object());
  EXPECT_EQ(tree("\n# nothing\n  \n"), Json::object());
}

// --- raw texts -----------------------------------------------------------------------------------

TEST(RawText, TakesTheClosingIndentationFromEveryLine) {
  EXPECT_EQ(
      tree("[a]\nx: \"\"\"\n  one\n    two\n\n  [b] # \\n ${x} @env(\"X\")\n  \"\"\"\ny: 1\n"),
      R"({"a": {"x": "one\n  two\n\n[b] # \\n ${x} @env(\"X\")\n", "y": 1}})"_json_tree);
}

TEST(RawText, MayBeEmptyOrAnItem) {
  EXPECT_EQ(tree("[a]\nx: \"\"\"\n\"\"\"\nl:\n- \"\"\"\n  i\n  \"\"\"\n- 2\n"),
            R"({"a": {"x": "", "l": ["i\n", 2]}})"_json_tree);
}

TEST(RawText, EndsOnlyAtALineThatHoldsOnlyTheQuotes) {
  EXPECT_EQ(tree("[a]\nx: \"\"\"\nsay \"\"\" here\n\"\"\"x\n\"\"\"\n"),
            R"({"a": {"x": "say \"\"\" here\n\"\"\"x\n"}})"_json_tree);
}

// --- literals and texts --------------------------------------------------------------------------

TEST(Literals, NumbersAreJsonsNumbers) {
  EXPECT_EQ(value("0"), 0);
  EXPECT_EQ(value("-17"), -17);
  EXPECT_EQ(value("9223372036854775807"), INT64_MAX);
  EXPECT_EQ(value("-9223372036854775808"), INT64_MIN);
  EXPECT_EQ(value("2.50"), 2.5);
  EXPECT_EQ(value("1e3"), 1000.0);
  EXPECT_TRUE(value("1e3").is_number_float());
  EXPECT_EQ(value("-1.5E-2"), -0.015);
}

TEST(Literals, WhatOnlyLooksLikeANumberIsText) {
  for (const char* text : {"007", "1.2.3", "16MB", "5m", "+5", ".5", "5.", "1_000", "0x10", "--5",
                           "2024-01-02", "1-2-3", "-", "1e", "3 apples", "5-"}) {
    EXPECT_EQ(value(text), text);
  }
}

TEST(Literals, RangesHaveTwoEnds) {
  EXPECT_EQ(value("8000-9000"), R"({"min": 8000, "max": 9000})"_json_tree);
  EXPECT_THAT(errors("[a]\nx: 9-8"), HasSubstr("must not end before it starts"));
}

TEST(Literals, YesNoOnOffAreText) {
  EXPECT_EQ(value("true"), true);
  EXPECT_EQ(value("false"), false);
  EXPECT_EQ(value("null"), nullptr);
  for (const char* text : {"yes", "no", "on", "off", "True", "NULL", "~"}) {
    EXPECT_EQ(value(text), text);
  }
}

TEST(Literals, NumbersThatDoNotFitAreErrors) {
  EXPECT_THAT(errors("[a]\nx: 9223372036854775808"), HasSubstr("t.tsk:2:4: a whole number must"));
  EXPECT_THAT(errors("[a]\nx: 1e999"), HasSubstr("does not fit a double"));
}

TEST(Texts, BareTextRunsToTheEndOfTheLineOrAComment) {
  EXPECT_EQ(value("some words, [and] {more}: here  # not this"), "some words, [and] {more}: here");
  EXPECT_EQ(value("a#b"), "a#b");
  EXPECT_EQ(value("http://x/y?z=1&w=2"), "http://x/y?z=1&w=2");
  EXPECT_EQ(value("user@host"), "user@host");
  EXPECT_EQ(value("python3 worker.py || exit 1"), "python3 worker.py || exit 1");
  EXPECT_EQ(value("really?"), "really?");
  EXPECT_EQ(value("C++"), "C++");
  EXPECT_EQ(value("(none)"), "(none)");
  EXPECT_EQ(value("Grüße"), "Grüße");
  EXPECT_EQ(value("x=y"), "x=y");
}

TEST(Texts, DoubleQuotesHaveEscapes) {
  EXPECT_EQ(value(R"("a\"b\\c\nd\te\rf\@g")"), "a\"b\\c\nd\te\rf@g");
  EXPECT_EQ(value(R"("\u00e4\u20AC\ud83d\ude00")"), "ä€😀");
  EXPECT_EQ(value("\"# no comment; $5 {x}\""), "# no comment; $5 {x}");
  EXPECT_EQ(value("\"\""), "");
}

TEST(Texts, AnotherEscapeIsAnError) {
  EXPECT_THAT(errors("[a]\nx: \"a\\qb\""), HasSubstr("t.tsk:2:6: unknown escape"));
  for (const char* escape : {"\\u12", "\\u0000", "\\ud800", "\\udc00", "\\ud800\\u0041"}) {
    EXPECT_THAT(errors("[a]\nx: \"" + std::string(escape) + "\""), HasSubstr("hexadecimal"))
        << escape;
  }
}

TEST(Texts, SingleQuotesAreRaw) {
  EXPECT_EQ(value(R"('a\n"${b}" @env("X") # c')"), R"(a\n"${b}" @env("X") # c)");
  EXPECT_EQ(value("'@env(\"HOME\")'"), "@env(\"HOME\")");
}

TEST(Texts, InterpolateVariablesAndEarlierKeys) {
  EXPECT_EQ(tree("$who: Ada\n[a]\nport: 80\nx: \"${who}:${port}\"\ny: \"\\u0024{who}\"\n"),
            R"({"a": {"port": 80, "x": "Ada:80", "y": "${who}"}})"_json_tree);
  EXPECT_THAT(errors("$name: 1\n[a]\nx: \"${nmae}\""), HasSubstr("did you mean \"name\"?"));
  EXPECT_THAT(errors("[a]\nl: [1]\nx: \"${l}\""), HasSubstr("is a list"));
}

// --- inline lists and maps -----------------------------------------------------------------------

TEST(Collections, StandInALine) {
  EXPECT_EQ(value("[]"), Json::array());
  EXPECT_EQ(value("{}"), Json::object());
  EXPECT_EQ(value("[1, two words, \"three, 3\", null, [4], {k: 5},]"),
            R"([1, "two words", "three, 3", null, [4], {"k": 5}])"_json_tree);
  EXPECT_EQ(value("{a: 1, \"b c\": [x], d = e f}"),
            R"({"a": 1, "b c": ["x"], "d": "e f"})"_json_tree);
}

TEST(Collections, GoOverLines) {
  EXPECT_EQ(tree("[a]\nx: [\n  1, # one\n  2\n\n  3,\n]\ny: {\n  k: v\n  l: [4,\n5]\n}\nz: 1"),
            R"({"a": {"x": [1, 2, 3], "y": {"k": "v", "l": [4, 5]}, "z": 1}})"_json_tree);
}

TEST(Collections, SayWhatIsMissing) {
  EXPECT_THAT(errors("[a]\nx: [1 2"), HasSubstr("expected"));
  EXPECT_THAT(errors("[a]\nx: [\"a\" \"b\"]"), HasSubstr("t.tsk:2:9: expected \",\" or \"]\""));
  EXPECT_THAT(errors("[a]\nx: {a 1}"), HasSubstr("expected \":\" behind the key"));
  EXPECT_THAT(errors("[a]\nx: {a: 1, a: 2}"), HasSubstr("the key \"a\" stands in line 2 already"));
  EXPECT_THAT(errors("[a]\nx: [1"), HasSubstr("expected \",\" or \"]\""));
  EXPECT_THAT(errors("[a]\nx: [1,,2]"), HasSubstr("expected a value"));
  EXPECT_THAT(errors("[a]\nx: [1] 2"), HasSubstr("t.tsk:2:8: expected the end of the line"));
}

// --- expressions ---------------------------------------------------------------------------------

TEST(Expressions, ABareWordIsAnEarlierKeyOfTheSection) {
  EXPECT_EQ(tree("[a]\nport: 80\nother: port\nlater: next\nnext: 1\n[b]\nother: port\n"),
            R"({"a": {"port": 80, "other": 80, "later": "next", "next": 1},
               "b": {"other": "port"}})"_json_tree);
  EXPECT_EQ(tree("[a]\nl: [1, 2]\nm:\n  k: l\n  n: k\n"),
            R"({"a": {"l": [1, 2], "m": {"k": [1, 2], "n": [1, 2]}}})"_json_tree);
}

// A worker named python whose neighbour says `language: python` means the word.
TEST(Expressions, AKeyThatHoldsAMapIsNoValueOfAWord) {
  EXPECT_EQ(
      tree("[w]\npython:\n  language: python\nother:\n  language: python\n"),
      R"({"w": {"python": {"language": "python"}, "other": {"language": "python"}}})"_json_tree);
}

TEST(Expressions, JoinAndAdd) {
  EXPECT_EQ(value("\"a\" + \"b\""), "ab");
  EXPECT_EQ(value("\"n\" + 1 + true"), "n1true");
  EXPECT_EQ(value("1 + 2"), 3);
  EXPECT_EQ(value("1 + 0.5"), 1.5);
  EXPECT_EQ(tree("[a]\nhost: h\nurl: host + \":80\"\n"),
            R"({"a": {"host": "h", "url": "h:80"}})"_json_tree);
  EXPECT_THAT(errors("[a]\nx: \"a\" + null"), HasSubstr("expected text or a number"));
  EXPECT_THAT(errors("[a]\nx: \"a\" + [1]"), HasSubstr("found a list"));
  EXPECT_THAT(errors("[a]\nx: 9223372036854775807 + 1"), HasSubstr("does not fit 64 bits"));
}

TEST(Expressions, Choose) {
  EXPECT_EQ(value("true ? 1 : 2"), 1);
  EXPECT_EQ(value("1 > 2 ? a : b"), "b");
  EXPECT_EQ(value("false ? 1 : true ? 2 : 3"), 2);
  EXPECT_EQ(tree("$env: prod\n[a]\nw: $env == \"prod\" ? 4 : 1\nv: $env == test ? 10ms : 5s\n"),
            R"({"a": {"w": 4, "v": "5s"}})"_json_tree);
  EXPECT_EQ(value("[true ? 1 : 2, {k: false ? 3 : 4}]"), R"([1, {"k": 4}])"_json_tree);
  EXPECT_THAT(errors("[a]\nx: \"yes\" ? 1 : 2"), HasSubstr("expected true or false before \"?\""));
}

TEST(Expressions, CompareAndCombine) {
  for (const char* text :
       {"1 == 1.0", "1 != 2", "1 <= 1", "2 >= 1", "1 < 2", "2 > 1", "\"a\" < \"b\"", "\"1\" != 1",
        "null == null", "true == true", "!false", "!!true", "true && !false", "false || true",
        "(1 < 2) == true", "1 < 2 && 2 < 3", "true || 1 > 2 && false", "(1 + 1) == 2"}) {
    EXPECT_EQ(value(text), true) << text;
  }
  EXPECT_THAT(errors("[a]\nx: 1 < \"a\""),
              HasSubstr("only two numbers or two texts have an order"));
  EXPECT_THAT(errors("[a]\nx: 1 && true"), HasSubstr("expected true or false beside \"&&\""));
}

TEST(Expressions, WhatIsNotChosenIsNotEvaluated) {
  EXPECT_EQ(value("true ? 1 : @env(\"UNSET\")"), 1);
  EXPECT_EQ(value("true || @env(\"UNSET\") == \"x\""), true);
  EXPECT_THAT(errors("[a]\nx: true ? 1 : @query(\"x\")"), HasSubstr("asks a database"));
  EXPECT_THAT(errors("[a]\nx: true ? 1 : $none"), HasSubstr("unknown variable $none"));
}

TEST(Expressions, AnUnknownWordBesideAnOperatorIsAnError) {
  EXPECT_THAT(errors("[a]\nport: 80\nx: prot + 1"),
              HasSubstr("t.tsk:3:4: \"prot\" is no earlier key of this section; did you mean "
                        "\"port\"?; text needs quotes here"));
}

TEST(Variables, HoldAnythingFromTheirLineOn) {
  EXPECT_EQ(tree("$l: [1]\n[a]\n$m:\n  k: 1\nx: $l\ny: $m\n[b]\nz: $m\n"),
            R"({"a": {"x": [1], "y": {"k": 1}}, "b": {"z": {"k": 1}}})"_json_tree);
  EXPECT_THAT(errors("[a]\nx: $later\n$later: 1"), HasSubstr("unknown variable $later"));
  EXPECT_THAT(errors("$a: 1\n$a: 2"), HasSubstr("the variable $a stands in line 1 already"));
  EXPECT_THAT(errors("$name: 1\nx: $nmae"), HasSubstr("did you mean \"name\"?"));
}

// --- operators -----------------------------------------------------------------------------------

TEST(Operators, ReadTheEnvironment) {
  EXPECT_EQ(value("@env(\"HOME\")"), "/home/ada");
  EXPECT_EQ(value("@env('NONE', 8080)"), 8080);
  EXPECT_EQ(value("@env(\"NONE\", null)"), nullptr);
  EXPECT_EQ(value("@env(\"DEBUG\") == \"true\" ? 1 : 2"), 1);
  EXPECT_EQ(value("\"@env('HOME')\""), "/home/ada");
  EXPECT_EQ(value("[@env(\"HOME\"), 1]"), R"(["/home/ada", 1])"_json_tree);
  EXPECT_THAT(errors("[a]\nx: @env(\"NONE\")"), HasSubstr("t.tsk:2:4: the environment variable"));
  EXPECT_THAT(errors("[a]\nx: @env(\"BROKEN\")"), HasSubstr("is not UTF-8"));
  auto document = read("[a]\nx: @env(\"DEBUG\")");
  EXPECT_TRUE(document->root.map().find("a")->map().find("x")->from_environment);
}

TEST(Operators, ReadFiles) {
  EXPECT_EQ(value("@file.read(\"a.txt\")"), "line one\nline two\n");
  EXPECT_EQ(value("\"@file.read('a.txt')\""), "line one\nline two\n");
  EXPECT_EQ(value("@json.read(\"a.json\")"), R"({"n": [1, 2.5, null], "t": "x"})"_json_tree);
  EXPECT_THAT(errors("[a]\nx: @file.read(\"no.txt\")"),
              HasSubstr("t.tsk:2:4: \"no.txt\" does not exist"));
  EXPECT_THAT(errors("[a]\nx: @json.read(\"a.txt\")"), HasSubstr("no valid JSON at byte"));
  EXPECT_THAT(errors("[a]\nx: @json.read(\"deep.json\")"), HasSubstr("nested too deeply"));
  EXPECT_THAT(errors("[a]\nx: @json.read(\"twice.json\")"), HasSubstr("stands twice"));
  EXPECT_THAT(errors("[a]\nx: @json.read(\"big.json\")"), HasSubstr("beyond 64 bits"));
}

TEST(Operators, TellTheDateInUtc) {
  EXPECT_EQ(value("@date()"), "2025-03-04T12:00:00Z");
  EXPECT_EQ(value("@date(\"Y-m-d H:i:s\")"), "2025-03-04 12:00:00");
  EXPECT_EQ(value("@date('U')"), "1741089600");
  EXPECT_THAT(errors("[a]\nx: @date(\"%Y\")"), HasSubstr("is no letter of a date"));
}

TEST(Operators, OtherQuotedTextWithAnAtSignIsText) {
  for (const char* text :
       {"ada@example.org", "@team", "@env('A') and @env('B')", "see @env('A')", "@ (x)", "@env"}) {
    EXPECT_EQ(value("\"" + std::string(text) + "\""), text);
  }
  EXPECT_EQ(value("\"\\@env('HOME')\""), "@env('HOME')");
}

TEST(Operators, ThatADaemonMustNotRunAreErrorsThatSaySo) {
  EXPECT_THAT(errors("[a]\nx: @query(\"SELECT 1\")"), HasSubstr("@query asks a database, which"));
  EXPECT_THAT(errors("[a]\nx: \"@http('GET', 'u')\""), HasSubstr("@http uses the network"));
  EXPECT_THAT(errors("[a]\nx: @learn(\"x\", 1)"), HasSubstr("@learn keeps a state"));
  EXPECT_THAT(errors("[a]\nx: @cache.get(\"x\")"), HasSubstr("@cache.get keeps a state"));
  EXPECT_THAT(errors("[a]\nx: @file.raed(\"x\")"),
              HasSubstr("unknown operator @file.raed; did you mean \"file.read\"?"));
}

// --- mistakes ------------------------------------------------------------------------------------

TEST(Mistakes, AreReportedSeveralAtOnce) {
  std::string all = errors("[a]\nx: $one\n\ty: 1\nz: \"open\n[b\nx: 1\nx: 2\n[a]\n");
  EXPECT_THAT(all, HasSubstr("t.tsk:2:4: unknown variable $one"));
  EXPECT_THAT(all, HasSubstr("t.tsk:3:1: a tab in the indentation"));
  EXPECT_THAT(all, HasSubstr("t.tsk:4:4: the text is not closed"));
  EXPECT_THAT(all, HasSubstr("t.tsk:5:3: expected \"]\""));
  EXPECT_THAT(all, HasSubstr("t.tsk:7:1: the key \"x\" stands in line 6 already"));
  EXPECT_THAT(all, HasSubstr("t.tsk:8:1: the section [a] stands in line 1 already"));
}

TEST(Mistakes, OneLineMakesOneError) {
  for (const char* text :
       {"[a]\nx: [1, $no, 3]\ny: 1\n", "[a]\nx: [\n  1,\n  $no,\n  3\n]\ny: 1\n",
        "[a]\nx: 1\n   y: 2\n   z: 3\n", "[a]\nx:\n    y: 1\n  z: 2\nw: 3\n",
        "[a]\nb {\n  x: 1\n[c]\ny: 1\n", "[a]\nx: \"\"\"\n[b]\n", "[a]\n- 1\n- 2\n  - 3\n",
        "[a]\nkey without colon\n  y: 1\n", "[a]\nx:\n- 1\n- [\n  ,\n  ]\n- 2\n"}) {
    auto document = read(text);
    ASSERT_FALSE(document) << text;
    EXPECT_LE(document.error().size(), 2u) << text << format(document.error());
  }
}

TEST(Mistakes, IndentationReturnsToALevelThatIsOpen) {
  EXPECT_THAT(errors("[a]\nx:\n    y: 1\n  z: 2\n"),
              HasSubstr("t.tsk:4:3: the indentation returns to no level that is open; expected 0 "
                        "or 4 spaces, found 2"));
  EXPECT_THAT(errors("[a]\n  x: 1\ny: 2\n"), HasSubstr("expected 2 spaces, found 0"));
  EXPECT_THAT(errors("[a]\nx: 1\n  y: 2\n"), HasSubstr("indented deeper"));
  EXPECT_THAT(errors("[a]\nx:\n  - 1\n  y: 2\n"), HasSubstr("expected \"- \""));
  EXPECT_THAT(errors("[a]\nx:\n  y: 1\n  - 2\n"), HasSubstr("expected a key"));
  EXPECT_THAT(errors("[a]\nx: 1\n  [b]\n"), HasSubstr("indented deeper"));
}

TEST(Mistakes, BlocksMustClose) {
  EXPECT_THAT(errors("[a]\nb {\n  x: 1\n"), HasSubstr("t.tsk:2:1: the block \"b\" is not closed"));
  EXPECT_THAT(errors("[a]\nb {\n  x: 1\n<\n"), HasSubstr("for the block of line 2"));
  EXPECT_THAT(errors("[a]\n}\n"), HasSubstr("nothing is open"));
  EXPECT_THAT(errors("[a]\nb >\n  x: 1\n[c]\n"), HasSubstr("expected \"<\""));
}

TEST(Mistakes, RawTextsMustCloseAndKeepTheirIndentation) {
  EXPECT_THAT(errors("[a]\nx: \"\"\"\n  y\n"), HasSubstr("t.tsk:2:4: the raw text is not closed"));
  EXPECT_THAT(errors("[a]\nx: \"\"\"\n y\n  \"\"\"\n"),
              HasSubstr("t.tsk:3:2: a line of a raw text"));
  EXPECT_THAT(errors("[a]\nx: \"\"\" y\n\"\"\"\n"), HasSubstr("a raw text starts in the next one"));
}

TEST(Mistakes, OddBytesAreFoundFirst) {
  EXPECT_THAT(errors("[a]\nx: \xC3\x28\n"), HasSubstr("t.tsk:2:4: expected UTF-8"));
  EXPECT_THAT(errors(std::string("[a]\nx: \0\n", 9)), HasSubstr("a control character"));
}

// --- bounds --------------------------------------------------------------------------------------

TEST(Bounds, OfTheFile) {
  EXPECT_THAT(errors(std::string(kMaxFile + 1, '#')), HasSubstr("is larger than 1048576 bytes"));
}

TEST(Bounds, OfDepth) {
  std::string brackets = "[a]\nx: " + std::string(5000, '[') + std::string(5000, ']');
  EXPECT_THAT(errors(brackets), HasSubstr("nested deeper than 64"));
  EXPECT_THAT(errors("[a]\nx: " + std::string(5000, '!') + "true ? 1 : 2"), testing::_);
  EXPECT_THAT(errors("[a]\nx: \"a\" + " + std::string(5000, '!') + "true"),
              HasSubstr("nested deeper than 64"));
  std::string lines = "[a]\n";
  for (int i = 0; i < 500; ++i) lines += std::string(static_cast<std::size_t>(i), ' ') + "x:\n";
  EXPECT_THAT(errors(lines), HasSubstr("nested deeper than 64"));
  std::string blocks = "[a]\n";
  for (int i = 0; i < 500; ++i) blocks += "x {\n";
  EXPECT_THAT(errors(blocks), HasSubstr("nested deeper than 64"));
  std::string items = "[a]\nx:\n";
  for (int i = 0; i < 500; ++i) items += "- ";
  EXPECT_THAT(errors(items), HasSubstr("nested deeper than 64"));
}

TEST(Bounds, OfGrowth) {
  std::string doubling = "$a0: \"0123456789\"\n";
  for (int i = 1; i < 60; ++i) {
    std::string last = std::to_string(i - 1);
    doubling += "$a" + std::to_string(i) + ": \"${a" + last + "}${a" + last + "}\"\n";
  }
  EXPECT_THAT(errors(doubling), HasSubstr("bytes of text"));
  std::string lists = "$a0: [1, 2]\n";
  for (int i = 1; i < 60; ++i) {
    std::string last = std::to_string(i - 1);
    lists += "$a" + std::to_string(i) + ": [$a" + last + ", $a" + last + "]\n";
  }
  EXPECT_THAT(errors(lists), HasSubstr("more than 100000 values"));
}

TEST(Bounds, OfWork) {
  // Each level would be tried again by the one around it.
  std::string nested;
  for (int i = 0; i < 40; ++i) nested += "a+[";
  EXPECT_NE(errors("[a]\nx: [" + nested + "$"), "");
  std::string open;
  for (int i = 0; i < 60; ++i) open += "1 + [x + [";
  EXPECT_THAT(errors("[a]\nx: " + open), testing::_);
  std::string calls = "[a]\nx: [";
  for (int i = 0; i < 300; ++i) calls += "@date(), ";
  EXPECT_THAT(errors(calls + "]"), HasSubstr("more than 256 operators"));
  std::string text = "$a: \"0123456789\"\n[a]\nx: \"";
  for (int i = 0; i < 90'000; ++i) text += "${a}";
  EXPECT_EQ(errors(text + "\""), "");
  std::string mistakes = "[a]\n";
  for (int i = 0; i < 1000; ++i) mistakes += "x\n";
  EXPECT_THAT(errors(mistakes), HasSubstr("more errors are not shown"));
}

}  // namespace
}  // namespace tusk::config
