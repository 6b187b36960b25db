// Lines for the tests of the metrics, and references for them.
#pragma once

#include <string>
#include <vector>

namespace chorus {

using Lines = std::vector<std::string>;

inline Lines hypotheses() {
  return {"The cat sat on the mat.", "Er kauft 1,000.50 Äpfel – „heute“.", "我喜欢猫。 3.5%", "",
          "ΟΔΟΣ İstanbul",           "the the the the the the the"};
}

inline std::vector<Lines> references(int count) {
  const std::vector<Lines> both = {
      {"The cat is on the mat.", "Er kaufte 1,000.50 Äpfel – „gestern“!", "我喜歡貓。 3.5%", "nothing here",
       "οδος i̇stanbul", "the cat is on the mat"},
      {"There is a cat on the mat.", "Heute kauft er 1,000.50 Äpfel.", "我喜欢猫！", "", "ΟΔΌΣ ISTANBUL",
       "there is a cat on the mat, the mat"}};
  return {both.begin(), both.begin() + count};
}

}  // namespace chorus
