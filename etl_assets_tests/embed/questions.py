"""Questions in words of one's own, each with the dataset that answers it.

What belongs here: the questions. What does not: asking them.
"""

QUESTIONS = {
    "dead otters sent in for post-mortem examination": "16e1efbf-dcb4-441a-8861-efdc1fe05231",
    "liver samples of raptors": "1e72caeb-214f-41df-accc-bf2b3ee85dd8",
    "pets and wild animals poisoned by pesticides": "becdd2dc-df12-4567-aab0-893dd9c3bf20",
    "bacteria on young volcanic rock": "170c039e-b978-4e8d-8271-47528c6bb0af",
    "how fast do small furry predators run": "c63c543f-3e95-4c1c-8c69-12f942271813",
    "future floods of an English river in a warmer climate": "986d3df3-d9bf-42eb-8e18-850b8d54f37b",
    "background radioactivity of soils and stream water": "bb2d7874-7bf4-44de-aa43-348bd684a2fe",
    "recovery of hill lakes and streams from acid rain": "a5a937ba-ea6c-4616-860a-ac8d04e1bd2b",
    "algae exposed to metal oxide nanoparticles": "c941bf85-cc03-4369-ad10-2fee185c707d",
    "binding of metals by humic acids": "b7567cab-2ecb-41ef-bac3-d37e71924ee2",
}
