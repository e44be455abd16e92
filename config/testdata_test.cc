// The blocks in testdata/ and what a person would write down for them.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "config/operators.h"
#include "config/parser.h"

namespace tusk::config {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

const fs::path kData = fs::path(TUSK_CONFIG_DIR) / "testdata";

std::string read(const fs::path& path) {
  auto text = read_regular_file(path.string(), kMaxFile);
  EXPECT_TRUE(text) << path;
  return text.value_or("");
}

std::vector<fs::path> blocks() {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(kData)) {
    std::string name = entry.path().filename();
    if (name.ends_with(".tsk") && name[0] >= '0' && name[0] <= '9') paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

Json tree(const fs::path& path) {
  auto document = parse(read(path), path.string(), real_surroundings(kData.string()));
  EXPECT_TRUE(document) << format(document.error());
  return document ? Json::parse(to_json(document->root)) : Json();
}

Json expected(fs::path path) { return Json::parse(read(path.replace_extension(".json"))); }

TEST(Testdata, EachBlockParsesToTheValuesAPersonWouldWriteDown) {
  ASSERT_EQ(blocks().size(), 25u);
  for (const fs::path& path : blocks()) EXPECT_EQ(tree(path), expected(path)) << path;
}

TEST(Testdata, AllBlocksInOneFileAreTheirSum) {
  Json sum = Json::object();
  for (const fs::path& path : blocks()) sum.update(expected(path));
  EXPECT_EQ(sum.size(), 48u);
  EXPECT_EQ(tree(kData / "all.tsk"), sum);
}

}  // namespace
}  // namespace tusk::config
