// How long to poll before going to sleep. A thread that sleeps is woken late (tens of microseconds,
// more on a virtual machine), one that polls burns its core. So it polls while events come close
// behind one another, and hardly or not at all while they do not: the rule of KVM's halt polling,
// https://docs.kernel.org/virt/kvm/halt-polling.html.
//
//   Spin spin(config.spin);
//   ... an event:            last = now
//   ... none:                if (now - last < spin.budget()) poll again; else sleep, and then
//                            spin.waited(now - last)
//
// One thread.
#pragma once

#include "daemon/core/time.h"

namespace tusk::transport {

class Spin {
 public:
  // Never longer than `most`; 0 means never.
  explicit Spin(core::Duration most) : most_(most), budget_(most) {}

  core::Duration budget() const { return budget_; }

  // It slept, and the next event came this long after the one before.
  void waited(core::Duration gap) {
    if (gap <= most_) {
      budget_ = most_;
    } else {
      budget_ = budget_ > most_ / 8 ? budget_ / 2 : core::Duration::zero();
    }
  }

 private:
  core::Duration most_;
  core::Duration budget_;
};

}  // namespace tusk::transport
