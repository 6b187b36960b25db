#include <iostream>

#include <chorus/chorus.h>

int main(int /*count*/, char** arguments) {  // MODEL FROM TO SOURCE TARGET
  const chorus::Scorer scorer(chorus::Model(arguments[1]), arguments[2], arguments[3]);
  const auto score = scorer.score({arguments[4]}, {arguments[5]}).front();
  std::cout << score.log_probability << " " << chorus::bleu({arguments[5]}, {arguments[5]}) << "\n";
}
