"""A small grammar of everyday sentences: greetings, times, numbers, names, weather, errands."""

NAMES = """Anna Ben Carol David Emma Frank Grace Henry Isabel Jack Karen Laura Mary Nathan Oliver Paul Rachel Sam Thomas
Victoria William Alice Robert James Linda Susan Daniel Maria George Helen Peter Sarah Michael Julia""".split()
PLACES = """London Paris Boston Chicago Berlin Madrid Dublin Sydney Toronto Edinburgh Vienna Oxford Denver Austin Lisbon
Rome Cairo Tokyo Seattle Houston""".split()
THINGS = """book letter table window garden river mountain bridge coffee dinner train ticket camera picture song story
machine computer message question answer house door kitchen road market school hospital office paper phone key lamp
bottle jacket bicycle boat plane forest island village city storm cloud winter summer morning evening birthday present
lesson doctor teacher student farmer driver neighbor friend brother sister mother father child dog cat horse bird fish
apple orange potato bread cheese butter sugar water music history science language number problem reason idea plan""".split()
ADJECTIVES = """old new small large red blue green white black quiet loud warm cold happy sad clever strange simple hard
easy early late heavy light bright dark clean dirty empty full famous little long short strong weak young beautiful
important different ordinary wonderful careful""".split()
VERBS = """found lost bought sold opened closed carried painted broke mended watched forgot remembered wanted needed
liked loved followed cleaned moved noticed visited described finished started borrowed returned measured""".split()
ACTIONS = """read the paper|make some tea|call a doctor|open the window|close the door|turn on the light|play the piano
write a letter|wait for the bus|look at the map|pay the bill|wash the dishes|feed the cat|lock the gate|answer the phone
send a message|take a photograph|cross the street|ask a question|tell a story|buy some bread|catch the train
water the plants|learn a language|check the time|start the engine|sign the form|fix the roof|leave a note|go home early""".replace(
    "\n", "|"
).split("|")
TIMES = """today|tomorrow|yesterday|this morning|tonight|next week|last year|on Monday|on Tuesday|on Wednesday|on Thursday
on Friday|on Saturday|on Sunday|in January|in March|in April|in June|in July|in August|in September|in October
in November|in December|at noon|at midnight|after lunch|before dinner""".replace("\n", "|").split("|")
WEATHER = "sunny cloudy windy rainy cold warm foggy stormy dry humid pleasant freezing".split()
ONES = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen""".split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
UNITS = "miles minutes hours days weeks dollars pounds people pages degrees meters years".split()
GREETINGS = """Hello|Hello there|Good morning|Good evening|Good afternoon|Hi|Welcome|Welcome back|Thank you|Thanks a lot
Excuse me|Goodbye|Good night|See you soon""".replace("\n", "|").split("|")


def number(value):
    """A number below a million, spelled out."""
    if value < 20:
        return ONES[value]
    if value < 100:
        return TENS[value // 10 - 2] + ("" if value % 10 == 0 else " " + ONES[value % 10])
    size, name = (100, "hundred") if value < 1000 else (1000, "thousand")
    rest = value % size
    return f"{number(value // size)} {name}" + ("" if rest == 0 else " " + number(rest))


def phrase(chance):
    article = chance.choice(("the", "the", "a", "her", "his", "my", "our", "this", "that", "every"))
    noun = f"{chance.choice(ADJECTIVES)} {chance.choice(THINGS)}" if chance.random() < 0.5 else chance.choice(THINGS)
    return f"{'an' if article == 'a' and noun[0] in 'aeiou' else article} {noun}"


def count(chance):
    value = chance.choice((chance.randrange(20), chance.randrange(100), chance.randrange(1000), chance.randrange(10_000)))
    return number(value) if chance.random() < 0.7 else str(value)


FORMS = (
    lambda c: f"{c.choice(NAMES)} {c.choice(VERBS)} {phrase(c)} {c.choice(TIMES)}.",
    lambda c: f"{c.choice(NAMES)} and {c.choice(NAMES)} {c.choice(VERBS)} {phrase(c)} near {phrase(c)}.",
    lambda c: f"{phrase(c)} is in {phrase(c)}.",
    lambda c: f"{phrase(c)} was {c.choice(ADJECTIVES)} and {c.choice(ADJECTIVES)}.",
    lambda c: f"Please {c.choice(ACTIONS)} {c.choice(TIMES)}.",
    lambda c: f"Could you {c.choice(ACTIONS)} and then {c.choice(ACTIONS)}?",
    lambda c: f"I would like to {c.choice(ACTIONS)} with {c.choice(NAMES)}.",
    lambda c: f"We have to {c.choice(ACTIONS)} before we {c.choice(ACTIONS)}.",
    lambda c: f"It is {count(c)} {c.choice(UNITS)} from {c.choice(PLACES)} to {c.choice(PLACES)}.",
    lambda c: f"The answer is {count(c)}.",
    lambda c: f"There are {count(c)} {c.choice(UNITS)} left, and {count(c)} {c.choice(UNITS)} are gone.",
    lambda c: f"My number is {' '.join(ONES[c.randrange(10)] for _ in range(7))}.",
    lambda c: f"The weather in {c.choice(PLACES)} is {c.choice(WEATHER)} {c.choice(TIMES)}.",
    lambda c: f"The train to {c.choice(PLACES)} leaves at {number(c.randrange(1, 13))} {c.choice(('fifteen', 'thirty', 'forty five', 'ten', 'twenty'))}.",
    lambda c: f"{c.choice(GREETINGS)}, {c.choice(NAMES)}. {c.choice(('How are you', 'Where is', 'What about'))} {c.choice(('today', phrase(c)))}?",
    lambda c: f"{c.choice(GREETINGS)}. This is the voice of {phrase(c)}.",
    lambda c: f"Where did {c.choice(NAMES)} put {phrase(c)}?",
    lambda c: f"Why was {phrase(c)} so {c.choice(ADJECTIVES)}?",
    lambda c: f"If you {c.choice(ACTIONS)}, I will {c.choice(ACTIONS)}.",
    lambda c: f"{c.choice(NAMES)} said that {phrase(c)} was {c.choice(ADJECTIVES)}.",
)


def sentence(chance):
    text = chance.choice(FORMS)(chance)
    return text[0].upper() + text[1:]
