// For tests under ThreadSanitizer, which reads these two functions when a program has them.
//
// libzmq 4.3.4 as Debian packages it is built without ThreadSanitizer, and hands over between its
// threads by lock-free queues that the tool cannot see into. Nothing else is suppressed.
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
  return "called_from_lib:libzmq.so\n"
         "race:libzmq.so\n"
         "mutex:libzmq.so\n";
}

// Tests fork with threads about: the child only looks at what it has, and exits.
extern "C" const char* __tsan_default_options();
extern "C" const char* __tsan_default_options() { return "die_after_fork=0"; }
