#include <iostream>

#include <chorus/chorus.h>

int main(int /*count*/, char** arguments) try {  // RUN.toml OUT
  chorus::Trainer trainer(arguments[1], {"train.duration=4u"});
  return trainer.train(arguments[2]) == chorus::Finish::done ? 0 : 1;
} catch (const chorus::UserError& error) {
  std::cerr << error.what() << "\n";
  return 2;
}
