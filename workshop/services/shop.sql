-- The shop: 5,000 products in 20 categories, 200,000 orders, two users.
-- Fixed formulas alone, no random(), no clock: the same rows on every machine.
-- Keys are made after the rows, which is faster than keeping them up row by row.

CREATE TABLE products (
    id int NOT NULL,
    name text NOT NULL,
    category text NOT NULL,
    price_cents int NOT NULL,
    stock int NOT NULL CHECK (stock >= 0)
);

-- 20 categories x 10 things x 25 kinds. Product 1 is the first kind of the first thing in the
-- first category, product 2 the same in the second category, and so on round.
WITH words (position, category, things) AS (
    VALUES
    (0, 'Books', '{Novel,Atlas,Cookbook,Dictionary,Biography,Almanac,Songbook,Thriller,Guidebook,Anthology}'::text[]),
    (1, 'Games', '{Chess Set,Puzzle,Card Game,Dice Set,Board Game,Domino Set,Quiz,Marble Run,Kite,Yo-yo}'),
    (2, 'Toys', '{Teddy Bear,Doll,Train,Robot,Spinning Top,Building Set,Rocking Horse,Drum,Puppet,Ball}'),
    (3, 'Music', '{Guitar,Ukulele,Flute,Violin,Harmonica,Keyboard,Trumpet,Tambourine,Metronome,Music Stand}'),
    (4, 'Garden', '{Spade,Rake,Watering Can,Flower Pot,Hose,Lantern,Bird House,Bench,Trowel,Wheelbarrow}'),
    (5, 'Kitchen', '{Frying Pan,Teapot,Whisk,Cutting Board,Saucepan,Colander,Ladle,Toaster,Grater,Mixing Bowl}'),
    (6, 'Tools', '{Hammer,Screwdriver,Saw,Drill,Spanner,Pliers,Tape Measure,Chisel,Spirit Level,Toolbox}'),
    (7, 'Sports', '{Football,Racket,Yoga Mat,Dumbbell,Skipping Rope,Helmet,Basketball,Goggles,Stopwatch,Hockey Stick}'),
    (8, 'Outdoors', '{Tent,Backpack,Sleeping Bag,Compass,Camp Stove,Hammock,Headlamp,Water Bottle,Binoculars,Pocket Knife}'),
    (9, 'Clothing', '{Jacket,Scarf,Sweater,Raincoat,Shirt,Dress,Waistcoat,Cardigan,Skirt,Hoodie}'),
    (10, 'Shoes', '{Boots,Sandals,Sneakers,Slippers,Loafers,Clogs,Moccasins,Running Shoes,Wellingtons,Brogues}'),
    (11, 'Jewellery', '{Ring,Necklace,Bracelet,Brooch,Earrings,Watch,Pendant,Cufflinks,Anklet,Locket}'),
    (12, 'Beauty', '{Soap,Shampoo,Hand Cream,Perfume,Lip Balm,Hairbrush,Bath Salt,Face Mask,Comb,Body Lotion}'),
    (13, 'Health', '{Thermometer,Plaster Box,Heat Pad,Massage Ball,First Aid Kit,Eye Mask,Foot Bath,Scale,Pill Box,Humidifier}'),
    (14, 'Electronics', '{Radio,Headphones,Loudspeaker,Charger,Camera,Keyboard Pad,Power Bank,Alarm Clock,Projector,Microphone}'),
    (15, 'Computers', '{Laptop,Monitor,Mouse,Webcam,Router,Printer,Hard Disk,Tablet,Scanner,Docking Station}'),
    (16, 'Furniture', '{Chair,Table,Bookcase,Stool,Wardrobe,Sofa,Desk,Shelf,Bed,Cupboard}'),
    (17, 'Office', '{Notebook,Fountain Pen,Stapler,Desk Lamp,Paper Tray,Ruler,Whiteboard,Hole Punch,Calendar,Envelope Set}'),
    (18, 'Pets', '{Dog Bed,Cat Tree,Fish Tank,Bird Cage,Lead,Feeding Bowl,Scratching Post,Collar,Rabbit Hutch,Pet Blanket}'),
    (19, 'Food', '{Honey,Olive Oil,Coffee,Chocolate,Tea,Marmalade,Pasta,Biscuits,Pepper,Granola}')
),
kinds (kind) AS (
    SELECT '{Amber,Bright,Calm,Classic,Clever,Cosy,Crimson,Deluxe,Early,Fine,Gentle,Golden,Grand,Handmade,Ivory,Light,Little,Modern,Noble,Plain,Quiet,Royal,Silver,Sturdy,Winter}'::text[]
)
INSERT INTO products (id, name, category, price_cents, stock)
SELECT
    id,
    kind[1 + (id - 1) / 20 % 25] || ' ' || things[1 + (id - 1) / 500],
    category,
    250 + (id * 7919) % 9750,
    100 + (id * 37) % 901
FROM generate_series(1, 5000) AS id
CROSS JOIN kinds
JOIN words ON words.position = (id - 1) % 20
ORDER BY id;

ALTER TABLE products ADD PRIMARY KEY (id);

-- The passwords are "password" and "wonderland", hashed by werkzeug.security with scrypt.
CREATE TABLE users (
    username text PRIMARY KEY,
    password_hash text NOT NULL
);

INSERT INTO users (username, password_hash) VALUES
('admin', 'scrypt:32768:8:1$Workshop2Admin01$c411e0c7db34ddb987b929a20ac94c7fce31d757a70eb07b6318353099323df4ad8e2b3936f33564166f16a77dafcadb08f91ccc48858b4e5fc1fdd97a1b172c'),
('alice', 'scrypt:32768:8:1$Workshop2Alice01$d37187775269d874e18166e13b287b451f8a624deff3a0c92b3eaaf6a88287b4f13ce3cb98e2c95082d8c0c41dbf2abb485cfc92f65784170eee2bce694b2a05');

CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY,
    product_id int NOT NULL,
    quantity int NOT NULL CHECK (quantity > 0),
    total_cents int NOT NULL,
    customer text,
    idempotency_key text,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- One order each 150 seconds through the year 2025. The lesser of two numbers picks the category,
-- so that earlier categories sell more; one order in ten is alice's, one in ten admin's.
INSERT INTO orders (id, product_id, quantity, total_cents, customer, created_at)
OVERRIDING SYSTEM VALUE
SELECT
    number,
    product_id,
    quantity,
    quantity * price_cents,
    CASE number % 10 WHEN 0 THEN 'alice' WHEN 1 THEN 'admin' END,
    timestamptz '2025-01-01 00:00:00+00' + number * interval '150 seconds'
FROM (
    SELECT
        number,
        1 + least(number * 7 % 20, number * 13 / 20 % 20) + 20 * (number * 7919 % 250) AS product_id,
        1 + number * 31 / 7 % 5 AS quantity
    FROM generate_series(1, 200000) AS number
) AS numbers
JOIN products ON products.id = product_id
ORDER BY number;

ALTER TABLE orders ALTER COLUMN id RESTART WITH 200001;
ALTER TABLE orders ADD PRIMARY KEY (id);
ALTER TABLE orders ADD FOREIGN KEY (product_id) REFERENCES products;
ALTER TABLE orders ADD FOREIGN KEY (customer) REFERENCES users;

-- A key is unique for each customer, and among the orders of no customer. Orders without a key
-- are not in this index.
CREATE UNIQUE INDEX ON orders (customer, idempotency_key) NULLS NOT DISTINCT
WHERE idempotency_key IS NOT NULL;

ANALYZE products, users, orders;
