#include <iostream>

#include <chorus/chorus.h>

int main(int /*count*/, char** arguments) {  // MODEL KEEP TEXT OUT
  const double left =
      chorus::prune(arguments[1], std::stod(arguments[2]), {.files = arguments[3]}, arguments[4]);
  std::cout << left << "\n";
}
