// What a submit asks for beyond an ordinary run, drawn from one number of its decision: the same
// number is the same wish, 0 is none.
#pragma once

#include "proto/writer.h"
#include "tests/simulation/scene.h"

namespace tusk::simulation {

void write_wish(proto::AttributeWriter& out, uint32_t number, const Features& features);

}  // namespace tusk::simulation
