#include <iostream>

#include <chorus/chorus.h>

int main(int /*count*/, char** arguments) {  // MODEL FROM TO
  const chorus::Translator translator(chorus::Model(arguments[1]), arguments[2], arguments[3]);
  for (std::string line; std::getline(std::cin, line);) std::cout << translator.translate(line) << "\n";
}
