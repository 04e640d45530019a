"""Several wordings of the classes of the labelled data sets.

The names of the classes are those of ESC-50 (K. J. Piczak, ACM Multimedia
2015), of UrbanSound8K (J. Salamon, C. Jacoby and J. P. Bello, ACM Multimedia
2014) and of the built-in data set; the wordings are ours.
"""

# class: names for training / sentences for training / held-out wordings.
# The names and the held-out wordings fit in a template, the sentences stand
# alone. The class's own name is always the first name.
WORDINGS = {
    # ESC-50
    "dog": "dog barking, puppy barking / a dog barks"
    " / a barking dog, the bark of a dog",
    "rooster": "rooster crowing, cock-a-doodle-doo / a rooster crows"
    " / a crowing rooster, a cock crowing at dawn",
    "pig": "pig oinking, pig grunting / a pig grunts"
    " / an oinking pig, the grunts of a pig",
    "cow": "cow mooing, cattle / a cow moos"
    " / a mooing cow, the lowing of cattle",
    "frog": "frog croaking, frogs / a frog croaks"
    " / croaking frogs, the croak of a frog",
    "cat": "cat meowing, kitten / a cat meows"
    " / a meowing cat, the meow of a cat",
    "hen": "hen clucking, chicken / a hen clucks"
    " / a clucking hen, a chicken cackling",
    "insects": "insects buzzing, flying insects / insects buzz around"
    " / buzzing insects, the buzz of a fly",
    "sheep": "sheep bleating, lamb / a sheep bleats"
    " / a bleating sheep, the baa of a sheep",
    "crow": "crow cawing, raven / a crow caws"
    " / a cawing crow, the caws of crows",
    "rain": "rain falling, rainfall / rain falls"
    " / falling rain, raindrops pattering",
    "sea_waves": "sea waves crashing, ocean waves / waves break on the shore"
    " / crashing waves, the surf of the ocean",
    "crackling_fire": "fire crackling, campfire / a fire crackles"
    " / the crackle of a fire, burning wood popping",
    "crickets": "crickets chirping, cricket / crickets chirp at night"
    " / chirping crickets, the chirp of a cricket",
    "chirping_birds": "birds chirping, birdsong / birds sing"
    " / singing birds, the chirps of birds",
    "water_drops": "water dripping, drops of water / water drips"
    " / a dripping tap, falling water droplets",
    "wind": "wind blowing, strong wind / the wind blows"
    " / blowing wind, the howling of the wind",
    "pouring_water": "water being poured, pouring a drink"
    " / someone pours water / water poured into a glass, a poured drink",
    "toilet_flush": "toilet flushing, flushing water"
    " / someone flushes the toilet / a flushing toilet, the flush of a toilet",
    "thunderstorm": "thunder, thunder rumbling / thunder rolls"
    " / a rumble of thunder, a storm with thunder",
    "crying_baby": "baby crying, infant crying / a baby cries"
    " / the cries of a baby, a wailing infant",
    "sneezing": "person sneezing, sneeze / someone sneezes"
    " / a sneezing person, the sneeze of a person",
    "clapping": "hands clapping, applause / people clap"
    " / clapping hands, an audience applauding",
    "breathing": "person breathing, breath / someone breathes"
    " / heavy breaths, the breathing of a person",
    "coughing": "person coughing, cough / someone coughs"
    " / a coughing person, the cough of a person",
    "footsteps": "person walking, steps / someone walks"
    " / walking feet, the steps of a walker",
    "laughing": "person laughing, laughter / someone laughs"
    " / a laughing person, the laughs of people",
    "brushing_teeth": "tooth brushing, toothbrush"
    " / someone brushes their teeth"
    " / teeth being brushed, a toothbrush scrubbing teeth",
    "snoring": "person snoring, snore / someone snores"
    " / a snoring sleeper, the snores of a person",
    "drinking_sipping": "sipping a drink, drinking / someone sips a drink"
    " / sips from a cup, a person drinking",
    "door_wood_knock": "knocking on a door, door being knocked"
    " / someone knocks on the door"
    " / knocks on a wooden door, a knock at the door",
    "mouse_click": "mouse clicking, computer mouse / someone clicks a mouse"
    " / a clicking mouse, the clicks of a computer mouse",
    "keyboard_typing": "typing on a keyboard, computer keyboard"
    " / someone types on a keyboard"
    " / keystrokes on a keyboard, a person typing",
    "door_wood_creaks": "door creaking, door squeaking / a door creaks"
    " / the creak of a wooden door, a squeaky door hinge",
    "can_opening": "opening a can, can being opened / someone opens a can"
    " / a can popped open, the hiss of an opened can",
    "washing_machine": "washing machine running, laundry machine"
    " / a washing machine runs"
    " / a running washing machine, a washer spinning laundry",
    "vacuum_cleaner": "vacuum cleaner running, vacuuming"
    " / someone vacuums the floor"
    " / a running vacuum cleaner, a vacuum sucking up dust",
    "clock_alarm": "alarm clock, alarm clock ringing / an alarm clock rings"
    " / a ringing alarm clock, the beeps of an alarm clock",
    "clock_tick": "clock ticking, wall clock / a clock ticks"
    " / a ticking clock, the tick-tock of a clock",
    "glass_breaking": "glass shattering, broken glass / glass breaks"
    " / breaking glass, a glass smashed to pieces",
    "helicopter": "helicopter flying, helicopter rotor"
    " / a helicopter flies by"
    " / a hovering helicopter, the rotor of a helicopter",
    "chainsaw": "chainsaw running, sawing with a chainsaw"
    " / a chainsaw cuts wood"
    " / a running chainsaw, the buzz of a chainsaw",
    "siren": "siren wailing, emergency siren / a siren wails"
    " / a wailing siren, the siren of an ambulance",
    "car_horn": "car honking, car horn honking / a car honks"
    " / a honking car, the horn of a car",
    "engine": "engine running, motor / an engine runs"
    " / a running engine, the hum of a motor",
    "train": "train passing, railway train / a train passes by"
    " / a passing train, a train on the rails",
    "church_bells": "church bells ringing, church bell / church bells ring"
    " / ringing church bells, the bells of a church",
    "airplane": "airplane flying, aircraft / an airplane flies over"
    " / a flying airplane, a plane in the sky",
    "fireworks": "fireworks exploding, firecrackers / fireworks explode"
    " / exploding fireworks, the bangs of fireworks",
    "hand_saw": "sawing wood by hand, handsaw / someone saws wood"
    " / a saw cutting wood, the strokes of a hand saw",
    # UrbanSound8K; car_horn and siren are above.
    "air_conditioner": "air conditioner running, air conditioning"
    " / an air conditioner hums"
    " / a humming air conditioner, the fan of an air conditioner",
    "children_playing": "kids playing, children at play / children play"
    " / playing children, kids shouting at play",
    "dog_bark": "dog barking, dog / a dog barks"
    " / a barking dog, the bark of a dog",
    "drilling": "power drill, electric drill / someone drills a hole"
    " / a drill at work, a drill boring a hole",
    "engine_idling": "idling motor, engine in idle / an engine idles"
    " / an idling engine, a motor running in neutral",
    "gun_shot": "gunshot, gunfire / a gun is fired"
    " / a shot being fired, the bang of a gun",
    "jackhammer": "jackhammer pounding, pneumatic hammer"
    " / a jackhammer breaks the road"
    " / a pounding jackhammer, a pneumatic drill in concrete",
    "street_music": "music in the street, street musicians"
    " / musicians play in the street"
    " / a street band, a busker playing music",
    # The built-in data set, what it does not share with ESC-50.
    "whistle": "whistling, person whistling / someone whistles"
    " / a whistled tone, the whistle of a person",
    "alarm_beeps": "alarm beeping, electronic beeps / an alarm beeps"
    " / a beeping alarm, the beeps of an alarm",
    "door_knock": "knocking on a door, door being knocked"
    " / someone knocks on the door"
    " / knocks on a wooden door, a knock at the door",
}
